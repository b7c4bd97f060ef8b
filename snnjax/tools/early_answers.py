r"""Measures the accuracy of networks before a recording ends, over the time since the first event.

  python -m snnjax.tools.early_answers --weights=runs/rollout
  python -m snnjax.tools.early_answers --weights runs/rollout converted/rollout \
      --csv=early.csv --figure=early.png

The table has one row per time step: the accuracy of the logits averaged over the time steps so far,
and the accuracy of the logits of this time step alone. A rollout, such as rollout_densenet, has its
first response after as many time steps as its shortest path has edges; other networks respond at
the first time step. Times are in milliseconds if frames have a fixed duration (data.frames_by=time
and data.frame_window), and else in percent of all frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.paths import figure_file, output_file
from snnjax.tools.weights_arguments import make_parser, open_each


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = make_parser(__doc__, several=True)
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    return parse_and_run(_early_answers, parser, argv)


def _early_answers(args: argparse.Namespace) -> None:
    from snnjax.analysis.early_answers import measure_early_answers
    from snnjax.analysis.event_figures import save_early_answers
    from snnjax.analysis.runs import write_table
    from snnjax.analysis.tables import text_table

    curves = {}
    for name, trained in open_each(args):
        print(trained.describe())
        curves[name] = measure_early_answers(trained)
        in_time = all(row['milliseconds'] for row in curves[name])
        header = (
            'time step',
            'time (ms)' if in_time else 'frames (%)',
            *('accuracy', 'accuracy of this step alone'),
        )
        lines = [
            (
                f'{row["num_steps"]}',
                f'{row["milliseconds"] if in_time else 100 * row["share"]:,.0f}',
                f'{row["accuracy"]:.4f}',
                f'{row["step_accuracy"]:.4f}',
            )
            for row in curves[name]
        ]
        print(text_table(header, lines, left=0), flush=True)
    rows = [{'run': name, **row} for name, curve in curves.items() for row in curve]
    if args.json:
        args.json.write(rows)
    if args.csv:
        write_table(args.csv, rows)
    if args.figure:
        save_early_answers(curves, args.figure)


if __name__ == '__main__':
    sys.exit(main())
