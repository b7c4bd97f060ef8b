"""Estimates the energy of a trained network, by the paper's convention and by layer.

  python -m snnjax.tools.energy --weights=runs/cifar10
  python -m snnjax.tools.energy --weights=runs/cifar10 --num_steps=4 --json=energy.json
  python -m snnjax.tools.energy --paper

The paper's convention (tables 5 and 10) counts the convolutions of residual paths, all at the mean
firing rate of the network. In a network without residual paths, it counts all layers with spikes as
input. The estimate by layer counts every layer at the firing rate of its own input; layers with
real-valued input (the stem, shortcuts, the classifier) cost as much as in an ANN. Firing rates are
measured over all images of the split. --json writes the numbers under the names of NeuroBench.

--paper recomputes the tables of the paper from its firing rates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from snnjax.errors import run_command
from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.weights_arguments import make_parser, open_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv == ['--paper']:
        return run_command(_paper)
    parser = make_parser(__doc__)
    add_json_argument(parser)
    return parse_and_run(_energy, parser, argv)


def _paper() -> None:
    from snnjax.analysis.energy import SCOPE
    from snnjax.analysis.paper_tables import describe_paper_tables

    print(describe_paper_tables())
    print(SCOPE)


def _energy(args: argparse.Namespace) -> None:
    from snnjax.analysis.activity import measure_activity
    from snnjax.analysis.energy import estimate_energy

    trained = open_arguments(args)
    print(trained.describe(), flush=True)
    measured = estimate_energy(trained, measure_activity(trained))
    print(describe(measured))
    if args.json:
        args.json.write(measured)


def describe(measured: dict[str, Any]) -> str:
    """Returns the energy estimates as text.

    Args:
      measured: the result of `snnjax.analysis.energy.estimate_energy`.
    """
    from snnjax.analysis.energy import times_less

    paper, layers = measured['energy_by_mean_rate'], measured['energy_by_layer']
    rate = 1 - measured['activation_sparsity']
    lines = [
        f'firing rate {rate:.4f}, accuracy {measured["classification_accuracy"]:.4f}',
        '',
        "paper's convention: residual paths at the mean firing rate (tables 5 and 10)",
        f'  ANN {paper["macs"] / 1e6:12.2f} M MACs {1e6 * paper["ann_joules"]:12.2f} uJ',
        f'  SNN {paper["syops"] / 1e6:12.2f} M SyOPs{1e6 * paper["snn_joules"]:12.2f} uJ'
        f'   ANN / SNN {times_less(paper):.2f}',
        '',
        'by layer: every layer at the firing rate of its own input; real-valued input as MACs',
        f'  ANN {"":12}        {1e6 * layers["ann_joules"]:12.2f} uJ',
    ]
    for name, what in (('once', 'once'), ('every_step', 'at every time step')):
        snn = layers[name]
        lines.append(
            f'  SNN {snn["acs"] / 1e6:12.2f} M ACs, {snn["macs"] / 1e6:.2f} M MACs '
            f'{1e6 * snn["snn_joules"]:12.2f} uJ   ANN / SNN '
            f'{times_less(layers | snn):.2f}   (constant stem {what})'
        )
    return '\n'.join([*lines, '', measured['scope']])


if __name__ == '__main__':
    sys.exit(main())
