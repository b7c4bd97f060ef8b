r"""Measures accuracy and energy of the same weights at 1, 2, 3, ... time steps.

  python -m snnjax.tools.time_steps --weights=runs/cifar10 --max_steps=6 --figure=time_steps.png
  python -m snnjax.tools.time_steps --weights=runs/imagenet --max_steps=6 --csv=time_steps.csv \
      --data.eval_size=288 --data.eval_resize=320

The table has one row per number of time steps: accuracy, firing rate, and synaptic operations and
energy per image. `snnjax.tools.energy` explains the two estimates of energy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.errors import ConfigError
from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.paths import figure_file, output_file
from snnjax.tools.weights_arguments import make_parser, open_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--max_steps', type=int, default=6, help='largest number of time steps; default 6'
    )
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    return parse_and_run(_time_steps, parser, argv)


def _time_steps(args: argparse.Namespace) -> None:
    from snnjax.analysis.figures import save_time_steps
    from snnjax.analysis.runs import write_table
    from snnjax.analysis.time_steps import measure_time_steps

    if args.max_steps < 1:
        raise ConfigError(f'--max_steps={args.max_steps} must be at least 1')
    steps = range(1, args.max_steps + 1)
    trained = open_arguments(args)
    print(trained.describe())
    print("energy by the paper's convention (mean firing rate) and by layer")
    # Rows are printed as soon as they are measured: the widths are those of the header.
    header = ('  T', 'accuracy', 'firing rate', '  SyOPs (M)', 'mean rate (uJ)', 'by layer (uJ)')
    print('  '.join(header), flush=True)
    rows = []
    for row in measure_time_steps(lambda t: open_arguments(args, num_steps=t), steps):
        rows.append(row)
        cells = (
            f'{row["num_steps"]}',
            f'{row["accuracy"]:.4f}',
            f'{row["firing_rate"]:.4f}',
            f'{row["syops"] / 1e6:,.2f}',
            f'{1e6 * row["snn_joules"]:,.2f}',
            f'{1e6 * row["joules_by_layer"]:,.2f}',
        )
        aligned = (cell.rjust(len(title)) for cell, title in zip(cells, header, strict=True))
        print('  '.join(aligned), flush=True)
    if args.json:
        args.json.write(rows)
    if args.csv:
        write_table(args.csv, rows)
    if args.figure:
        save_time_steps(rows, trained.num_steps, args.figure, trained.name)


if __name__ == '__main__':
    sys.exit(main())
