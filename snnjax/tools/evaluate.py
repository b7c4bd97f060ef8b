"""Evaluates trained weights on every image of a split.

  python -m snnjax.tools.evaluate --weights=runs/cifar10
  python -m snnjax.tools.evaluate --weights=runs/imagenet --num_steps=6 \
      --data.eval_size=288 --data.eval_resize=320

Weights are the work directory of a run, whose newest checkpoint counts, or a folder that
`snnjax.tools.import_torch` has written. The number of time steps may be another than in training,
and so may every option of the data: those of a run are taken where nothing else is said, as long as
the data set is the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.tools.weights_arguments import make_parser, open_arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run(_evaluate, make_parser(__doc__).parse_args(argv))


def _evaluate(args: argparse.Namespace) -> None:
    trained = open_arguments(args)
    print(trained.describe())
    for key, value in trained.evaluate().items():
        print(f'{key.removeprefix("eval/").replace("_", " ")}: {value:.4f}')


if __name__ == '__main__':
    sys.exit(main())
