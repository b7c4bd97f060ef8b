"""Accuracy, inference cost and training cost of several networks."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from snnjax.analysis.energy import measure_costs
from snnjax.analysis.runs import RunError, by_network, mean_and_deviation, mean_of
from snnjax.analysis.tables import markdown_table
from snnjax.analysis.trained import data_as_trained, open_trained
from snnjax.data.pipeline import TrainingBatches
from snnjax.train.experiment import check
from snnjax.train.program import build_program
from snnjax.train.progress import watched
from snnjax.train.run_directory import read_config
from snnjax.train.sharding import make_mesh, put_batch
from snnjax.train.state import count_parameters


def measure_run(workdir: Path, **choice: Any) -> dict[str, Any]:
    """Measures the accuracy and the inference cost of a trained network.

    Args:
      workdir: the work directory of the run.
      **choice: the arguments of `open_trained` that select the checkpoint and the examples.

    Returns:
      A row with ``model``, ``parameters``, ``step`` (the step of the checkpoint), and the keys of
      `snnjax.analysis.energy.measure_costs`.
    """
    trained = open_trained(str(workdir), **choice)
    return {
        'model': trained.name,
        'parameters': count_parameters(trained.variables['params']),
        'step': trained.step,
        **measure_costs(trained),
    }


def measure_steps(
    workdirs: Mapping[str, Path], rounds: int, data: Mapping[str, Any] | None = None
) -> dict[str, dict[str, float]]:
    """Measures the time and the memory of a training step of several runs on this machine.

    The runs take turns, one step per round, so that other load on the machine affects all of them.

    Args:
      workdirs: the work directories by run name.
      rounds: the number of timed steps per run; one untimed step comes first.
      data: the fields of `DataOptions` that differ from training; None for no changes.

    Returns:
      A dictionary by run name with ``step_seconds``, the median step time, and ``step_bytes``, the
      memory that XLA allocates besides the arguments and results of the step.
    """
    mesh = make_mesh()
    steps: dict[str, Any] = {}
    states, costs = {}, {}
    for name, workdir in watched(workdirs.items(), 'compiling steps', unit='network'):
        config = _config_of(workdir)
        config.data.update(data_as_trained(str(workdir), data or {}))
        *_, setup = check(config, mesh.size)
        program = build_program(config, setup.dataset, setup.model, mesh, steps_per_epoch=1)
        split = setup.dataset.load('train')
        batches = TrainingBatches(split, config.batch_size, config.seed, num_batches=1)
        batch = put_batch(batches[0], program.batch_sharding)
        states[name] = program.init()
        compiled = program.train_step.lower(states[name], batch).compile()
        steps[name] = compiled, batch
        memory: Any = compiled.memory_analysis()
        costs[name] = {'step_bytes': float(memory.temp_size_in_bytes)}

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in watched(range(rounds + 1), 'timing steps', unit='round'):
        for name, (step, batch) in steps.items():
            begun = time.perf_counter()
            states[name], sums = step(states[name], batch)
            jax.block_until_ready(sums)
            seconds[name].append(time.perf_counter() - begun)
    return {
        name: {'step_seconds': statistics.median(seconds[name][1:]), **cost}
        for name, cost in costs.items()
    }


def _config_of(workdir: Path) -> ml_collections.ConfigDict:
    kept = read_config(workdir)
    if kept is None:
        raise RunError(f'{workdir} has no config.json: give the work directory of a sweep')
    # The initial weights and the loggers may no longer exist, and timing needs neither.
    return ml_collections.ConfigDict(kept | {'init_from': '', 'loggers': ''})


def comparison_table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Returns a Markdown table with one row per network.

    Several seeds of a network are averaged; the accuracy is followed by ± and its standard
    deviation.

    Args:
      rows: the rows of `measure_run` and `measure_steps`, with the name of the run as ``run``.
      width: the largest width in characters, as `markdown_table` takes it.
    """
    header = (
        *('network', 'model', 'parameters', 'T', 'accuracy (%)', 'firing rate', 'SyOPs (M)'),
        *('energy (uJ)', 'step (ms)', 'memory (MB)'),
    )
    lines = []
    for name, seeds in by_network(rows).items():
        mean = functools.partial(mean_of, seeds)
        first = seeds[0]
        lines.append(
            [
                name,
                f'`{first["model"]}`',
                f'{first["parameters"]:,}',
                f'{first["num_steps"]}',
                mean_and_deviation([100 * row['accuracy'] for row in seeds]),
                f'{mean("firing_rate", 1):.3f}',
                f'{mean("syops", 1e6):,.2f}',
                f'{mean("joules_by_layer", 1e-6):,.1f}',
                f'{mean("step_seconds", 1e-3):,.0f}',
                f'{mean("step_bytes", 1e6):,.0f}',
            ]
        )
    return markdown_table(header, lines, left=2, width=width)
