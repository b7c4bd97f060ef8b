r"""Measures block dynamical isometry, that is, how evenly blocks pass gradients on.

  python -m snnjax.tools.isometry --models ms_resnet20 vanilla_resnet20 --data.name=cifar10 \
      --num_steps=2 --figure=isometry.png
  python -m snnjax.tools.isometry --weights runs/cifar10 --json=isometry.json

For the Jacobian J of a block, phi is the trace of J J^T divided by the number of outputs, and the
spread is phi of (J J^T)^2 minus phi squared. Isometry means phi = 1 and a spread of 0 (section 4.2
and appendix A). If a block adds a residual path, the table also has 1 + phi of this path. The
column |gradient| is the norm of the loss gradient with respect to the parameters of a block. Firing
decisions are listed with their phi and p / a^2, where p is the share of membrane potentials inside
the window of the surrogate gradient and a the width of the window.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from snnjax.errors import ConfigError
from snnjax.spelling import count
from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.paths import figure_file
from snnjax.tools.weights_arguments import make_parser, open_each


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = make_parser(__doc__, images=64, several=True, initial=True)
    parser.add_argument('--probes', type=int, default=8, help='number of random probes; default 8')
    parser.add_argument(
        '--residual_scale',
        type=float,
        help='scale gamma to set at the end of all residual paths; default: unchanged',
    )
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    return parse_and_run(_isometry, parser, argv)


def _isometry(args: argparse.Namespace) -> None:
    from snnjax.analysis.figures import save_isometry
    from snnjax.analysis.isometry import measure_isometry

    if args.probes < 2:
        raise ConfigError(f'--probes={args.probes} must be at least 2')
    measured = {}
    for name, trained in open_each(args):
        print(f'{trained.describe()}\n{count(args.probes, "probe")}', flush=True)
        measured[name] = measure_isometry(trained, args.probes, args.residual_scale)
        print(describe(measured[name]), flush=True)
    if args.json:
        args.json.write(measured)
    if args.figure:
        save_isometry(measured, len(trained.examples), args.figure)


def describe(measured: dict[str, Any]) -> str:
    """Returns the measurements as text, with a row per block and a row per layer of neurons.

    Args:
      measured: the result of `snnjax.analysis.isometry.measure_isometry`.
    """
    from snnjax.analysis.tables import text_table

    blocks = [
        (
            block['name'],
            f'{block["phi"]:.3f} ± {block["error"]:.3f}',
            f'{block["predicted"]:.3f}' if block['predicted'] else '-',
            f'{block["spread"]:.2f}',
            f'{measured["gradient_norms"][block["name"]]:.4g}',
        )
        for block in measured['blocks']
    ]
    product = math.prod(block['phi'] for block in measured['blocks'])
    gates = [
        (
            gate['name'],
            f'{gate["phi"]:.4f}',
            '-' if gate['predicted'] is None else f'{gate["predicted"]:.4f}',
        )
        for gate in measured['gates']
    ]
    return '\n'.join(
        [
            text_table(('block', 'phi', '1 + phi(residual)', 'spread', '|gradient|'), blocks),
            f'product of all phi: {product:.3g}',
            '',
            text_table(('firing decision', 'phi', 'p / a^2'), gates),
        ]
    )


if __name__ == '__main__':
    sys.exit(main())
