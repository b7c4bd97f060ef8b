r"""Evaluates trained weights on all images of a split.

  python -m snnjax.tools.evaluate --weights=runs/cifar10
  python -m snnjax.tools.evaluate --weights=runs/imagenet --num_steps=6 \
      --data.eval_size=288 --data.eval_resize=320 --csv=results.csv

--weights is the work directory of a run or a folder of weights, for example from
`snnjax.tools.import_torch`. In a run, the newest checkpoint is evaluated unless --checkpoint names
another. The time steps and all options of the data may differ from training; the defaults are those
of the run if the data set is the same. --csv appends a row to a table and creates the table if it
is missing; several commands may append at the same time. --json writes the results of this
evaluation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.paths import output_file
from snnjax.tools.weights_arguments import make_parser, open_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = make_parser(__doc__)
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to append a row to')
    add_json_argument(parser)
    return parse_and_run(_evaluate, parser, argv)


def _evaluate(args: argparse.Namespace) -> None:
    from snnjax.analysis.runs import add_row, read_table

    if args.csv:
        read_table(args.csv)  # An invalid table fails here, before the evaluation.
    trained = open_arguments(args)
    print(trained.describe(), flush=True)
    measured = {key.removeprefix('eval/'): value for key, value in trained.evaluate().items()}
    for key, value in measured.items():
        print(f'{key.replace("_", " ")}: {value:.4f}')
    row = {
        'weights': str(args.weights),
        'step': trained.step,
        'model': trained.name,
        'num_steps': trained.num_steps,
        'data': trained.data.name,
        'split': trained.split_name,
        'images': len(trained.examples),
        'image_shape': 'x'.join(map(str, trained.image_shape)),
        **measured,
    }
    if args.csv:
        add_row(args.csv, row)
    if args.json:
        args.json.write(row)


if __name__ == '__main__':
    sys.exit(main())
