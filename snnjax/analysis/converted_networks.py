"""Accuracy and inference cost of converted networks, compared with trained ones."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.analysis.conversion_curve import images_of, measure_curve
from snnjax.analysis.energy import measure_costs
from snnjax.analysis.runs import RunError, by_network, mean_and_deviation, mean_of
from snnjax.analysis.tables import markdown_table
from snnjax.analysis.trained import open_trained
from snnjax.train.state import count_parameters


def read_conversion(folder: Path) -> dict[str, Any]:
    """Returns the entry ``conversion`` of the ``model.json`` of a folder.

    Raises:
      RunError: if `snnjax.tools.convert` did not write the folder.
    """
    path = folder / 'model.json'
    about = json.loads(path.read_text()).get('conversion') if path.is_file() else None
    if about is None:
        raise RunError(f'{folder} holds no converted network: give a folder that convert wrote')
    return about


def measure_converted(folder: Path, **choice: Any) -> dict[str, Any]:
    """Measures a converted network at its number of time steps.

    Args:
      folder: the folder that `snnjax.tools.convert` wrote.
      **choice: the arguments of `open_trained` that select the examples.

    Returns:
      A row with ``model``, ``method``, ``parameters``, and the keys of `measure_curve`. The
      ``num_steps`` of a few-spike network are summed over its layers.

    Raises:
      RunError: if the folder holds no converted network.
    """
    about = read_conversion(folder)
    trained = open_trained(str(folder), **choice)
    if 'time_steps' in about:
        costs = measure_costs(trained)
        per_neuron = costs['firing_rate'] * about['steps_per_layer']
        row = costs | {'num_steps': about['time_steps'], 'spikes_per_neuron': per_neuron}
    else:
        model, variables = trained.model, trained.variables
        images, shape = images_of(trained), trained.image_shape
        (row,), _ = measure_curve(model, variables, images, shape, [trained.num_steps])
    return {
        'model': trained.name,
        'method': about['method'],
        'parameters': count_parameters(trained.variables['params']),
        **row,
    }


def costs_table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Returns a Markdown table in the layout of table 3, with spike counts and energy.

    Several seeds of a network are averaged; the accuracy is followed by ± and its standard
    deviation.

    Args:
      rows: the rows of `measure_converted`, or of `snnjax.analysis.comparison.measure_run` for
        networks that were trained as SNNs, with the name of the run as ``run``.
      width: the largest width in characters, as `markdown_table` takes it.
    """
    header = (
        *('network', 'model', 'method', 'T', 'parameters', 'ANN (%)', 'accuracy (%)'),
        *('spikes per neuron', 'SyOPs (M)', 'energy by mean rate (uJ)', 'energy by layer (uJ)'),
    )
    lines = []
    for name, seeds in by_network(rows).items():
        mean = functools.partial(mean_of, seeds)
        first = seeds[0]
        of_ann = [100 * row['ann_accuracy'] for row in seeds if row.get('ann_accuracy')]
        ann = mean_and_deviation(of_ann) if of_ann else ''
        spikes = statistics.fmean(
            row.get('spikes_per_neuron', row['firing_rate'] * row['num_steps']) for row in seeds
        )
        lines.append(
            [
                name,
                f'`{first["model"]}`',
                first.get('method', 'trained'),
                f'{first["num_steps"]:,}',
                f'{first["parameters"]:,}',
                ann,
                mean_and_deviation([100 * row['accuracy'] for row in seeds]),
                f'{spikes:.2f}',
                f'{mean("syops", 1e6):,.2f}',
                f'{mean("snn_joules", 1e-6):,.1f}',
                f'{mean("joules_by_layer", 1e-6):,.1f}',
            ]
        )
    return markdown_table(header, lines, left=3, width=width)
