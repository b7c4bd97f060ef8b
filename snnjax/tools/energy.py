"""Tells the energy of a trained network's operations, by the paper's convention and by layer.

  python -m snnjax.tools.energy --weights=runs/cifar10
  python -m snnjax.tools.energy --weights=runs/cifar10 --num_steps=4 --json=energy.json
  python -m snnjax.tools.energy --paper

The paper's convention (tables 5 and 10) counts the convolutions of residual paths, all at the mean
firing rate of the network; in a network without any, all layers that see spikes. The other counts
every layer, at the rate of its own input, and charges what sees real values (the stem, shortcuts,
the classifier) as in an ANN. Rates are measured over all images of the split. With --json the
numbers are kept, by the names of NeuroBench.

--paper computes the paper's tables again from its own rates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnjax.analysis.activity import measure_activity
from snnjax.analysis.energy import SCOPE, estimate_energy
from snnjax.analysis.paper_tables import describe_paper_tables
from snnjax.tools.weights_arguments import make_parser, open_arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv == ['--paper']:
        print(describe_paper_tables())
        print(SCOPE)
        return 0
    parser = make_parser(__doc__)
    parser.add_argument('--json', type=Path, help='file to write')
    return run(_energy, parser.parse_args(argv))


def _energy(args: argparse.Namespace) -> None:
    trained = open_arguments(args)
    measured = estimate_energy(trained, measure_activity(trained))
    print(trained.describe())
    print(describe(measured))
    if args.json:
        args.json.write_text(json.dumps(measured, indent=2) + '\n')


def describe(measured: dict[str, Any]) -> str:
    """What `estimate_energy` gives, as text."""
    paper, layers = measured['energy_by_mean_rate'], measured['energy_by_layer']
    rate = 1 - measured['activation_sparsity']
    ratio = 'no neuron fires' if paper['ratio'] is None else f'ANN / SNN {paper["ratio"]:.2f}'
    lines = [
        f'firing rate {rate:.4f}, accuracy {measured["classification_accuracy"]:.4f}',
        '',
        'what the paper counts, at the mean firing rate (tables 5 and 10)',
        f'  ANN {paper["macs"] / 1e6:12.2f} M MACs {1e6 * paper["ann_joules"]:12.2f} uJ',
        f'  SNN {paper["syops"] / 1e6:12.2f} M SyOPs{1e6 * paper["snn_joules"]:12.2f} uJ   {ratio}',
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
