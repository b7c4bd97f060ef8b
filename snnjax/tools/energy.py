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
from snnjax.tools.terminal import fit_terminal
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

    print(fit_terminal(describe_paper_tables()))
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
    from snnjax.analysis.tables import text_table

    def row(label: str, acs: float | None, macs: float | None, joules: float) -> list[str]:
        shown = ('' if number is None else f'{number / 1e6:,.2f}' for number in (acs, macs))
        return [label, *shown, f'{1e6 * joules:,.2f}']

    paper, layers = measured['energy_by_mean_rate'], measured['energy_by_layer']
    once, every = layers['once'], layers['every_step']
    rate = 1 - measured['activation_sparsity']
    header = ('per image', 'ACs (M)', 'MACs (M)', 'energy (uJ)', 'ANN / SNN')

    def ratio(snn: dict[str, float]) -> str:
        return f'{times_less(layers | snn):.2f}'

    rows = [
        [*row('mean rate: ANN', None, paper['macs'], paper['ann_joules']), ''],
        [
            *row('mean rate: SNN', paper['syops'], None, paper['snn_joules']),
            f'{times_less(paper):.2f}',
        ],
        [*row('by layer: ANN', None, None, layers['ann_joules']), ''],
        [
            *row('by layer: SNN, stem once', once['acs'], once['macs'], once['snn_joules']),
            ratio(once),
        ],
        [
            *row('by layer: SNN, stem T times', every['acs'], every['macs'], every['snn_joules']),
            ratio(every),
        ],
    ]
    return '\n'.join(
        [
            f'firing rate {rate:.4f}, accuracy {measured["classification_accuracy"]:.4f}',
            '',
            text_table(header, rows),
            '',
            "mean rate: the paper's convention (tables 5 and 10), residual paths only",
            'by layer: each layer at the firing rate of its own input; real-valued input as MACs',
            measured['scope'],
        ]
    )


if __name__ == '__main__':
    sys.exit(main())
