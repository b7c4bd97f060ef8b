"""Tells the energy of a trained network's operations, by the paper's convention and by layer.

  python -m snnjax.tools.energy --weights=runs/cifar10
  python -m snnjax.tools.energy --weights=runs/cifar10 --num_steps=4 --json=energy.json
  python -m snnjax.tools.energy --paper

The paper's convention (tables 5 and 10) counts the 3x3 convolutions of residual paths, all at the
mean firing rate of the network. The other counts every layer, at the rate of its own input, and
charges what sees real values (the stem, shortcuts, the classifier) as in an ANN. Rates are measured
over all images of the split. With --json the numbers are kept, by the names of NeuroBench.

--paper computes the paper's tables again from its own rates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from snnjax.analysis import energy
from snnjax.analysis.activity import Activity, measure_activity
from snnjax.analysis.trained import Trained
from snnjax.models.summary import residual_macs, summarise
from snnjax.tools.weights_arguments import make_parser, open_arguments, run
from snnjax.train.weights import by_name


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv == ['--paper']:
        print(energy.describe_paper_tables())
        print(energy.SCOPE)
        return 0
    parser = make_parser(__doc__)
    parser.add_argument('--json', type=Path, help='file to write')
    return run(_energy, parser.parse_args(argv))


def _energy(args: argparse.Namespace) -> None:
    trained = open_arguments(args)
    measured = estimate(trained, measure_activity(trained))
    print(trained.describe())
    print(describe(measured))
    if args.json:
        args.json.write_text(json.dumps(measured, indent=2) + '\n')


def estimate(trained: Trained, activity: Activity) -> dict[str, Any]:
    """All that there is to say of the energy of a model, as JSON can hold it.

    Args:
      trained: the model.
      activity: what was measured of it.
    """
    layers = summarise(trained.model, trained.image_shape)
    paper = energy.Estimate(residual_macs(layers), activity.firing_rate, trained.num_steps)
    rates = {layer.name: layer.input_rate for layer in activity.synapses}
    kinds = {'once': False, 'every_step': True}
    by_layer = {
        name: energy.by_layer(layers, rates, trained.num_steps, every_step=every_step)
        for name, every_step in kinds.items()
    }
    sums = {name: energy.total(energies) for name, energies in by_layer.items()}
    leaves = by_name(jax.device_get(dict(trained.variables)))
    kernels = [leaf for name, leaf in leaves.items() if name.endswith('kernel')]
    zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels)
    return {
        **energy.neurobench_metrics(
            layers,
            footprint=sum(leaf.nbytes for leaf in leaves.values()),
            connection_sparsity=zeros / sum(kernel.size for kernel in kernels),
            accuracy=activity.accuracy,
            firing_rate=activity.firing_rate,
            operations={layer.name: layer.operations for layer in activity.synapses},
        ),
        'images': activity.images,
        'num_steps': trained.num_steps,
        'scope': energy.SCOPE,
        'energy_by_mean_rate': {
            'macs': paper.macs,
            'syops': paper.syops,
            'ann_joules': paper.ann_joules,
            'snn_joules': paper.snn_joules,
            'ratio': paper.ratio,
        },
        'energy_by_layer': {
            name: {'macs': all_.macs, 'acs': all_.acs, 'snn_joules': all_.joules}
            for name, all_ in sums.items()
        }
        | {'ann_joules': sum(layer.macs for layer in layers) * energy.MAC_JOULES},
        'layers': [
            {'name': layer.name, 'input_rate': rates[layer.name], 'joules': layer.joules}
            for layer in by_layer['once']
        ],
    }


def describe(measured: dict[str, Any]) -> str:
    """What `estimate` gives, as text."""
    paper, layers = measured['energy_by_mean_rate'], measured['energy_by_layer']
    rate = 1 - measured['activation_sparsity']
    lines = [
        f'firing rate {rate:.4f}, accuracy {measured["classification_accuracy"]:.4f}',
        '',
        '3x3 convolutions of residual paths, at the mean firing rate (tables 5 and 10)',
        f'  ANN {paper["macs"] / 1e6:12.2f} M MACs {1e6 * paper["ann_joules"]:12.2f} uJ',
        f'  SNN {paper["syops"] / 1e6:12.2f} M SyOPs{1e6 * paper["snn_joules"]:12.2f} uJ'
        f'   ANN / SNN {paper["ratio"]:.2f}',
        '',
        'every layer, at the rate of its own input; real-valued inputs as MACs',
        f'  ANN {"":12}        {1e6 * layers["ann_joules"]:12.2f} uJ',
    ]
    for name, what in (('once', 'while constant, once'), ('every_step', 'at every time step')):
        snn = layers[name]
        lines.append(
            f'  SNN {snn["acs"] / 1e6:12.2f} M ACs, {snn["macs"] / 1e6:.2f} M MACs '
            f'{1e6 * snn["snn_joules"]:12.2f} uJ   ANN / SNN '
            f'{layers["ann_joules"] / snn["snn_joules"]:.2f}   (stem {what})'
        )
    return '\n'.join([*lines, '', measured['scope']])


if __name__ == '__main__':
    sys.exit(main())
