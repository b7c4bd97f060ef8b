"""Measures the similarity of firing patterns before and after each block, by SSIM (equation 9).

  python -m snnjax.tools.similarity --weights=runs/cifar10 --figure=similarity.png
  python -m snnjax.tools.similarity --weights runs/vanilla runs/ms --figure=similarity.png

The table has one row per block: the SSIM averaged over images, and the share of images with equal
firing rates before and after the block. If the share is 100 %, the SSIM is exactly 1. Blocks that
change the resolution have no SSIM. The figure is a radar chart like figure 2b of the paper.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.paths import figure_file
from snnjax.tools.weights_arguments import make_parser, open_each

if TYPE_CHECKING:
    from snnjax.analysis.similarity import Similarity


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = make_parser(__doc__, several=True)
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    return parse_and_run(_similarity, parser, argv)


def _similarity(args: argparse.Namespace) -> None:
    from snnjax.analysis.figures import save_similarity
    from snnjax.analysis.similarity import measure_similarity

    measured = {}
    for name, trained in open_each(args):
        print(trained.describe(), flush=True)
        measured[name] = measure_similarity(trained)
        print(describe(measured[name]), flush=True)
    images = len(trained.examples)
    if args.json:
        lists = {name: to_json(blocks) for name, blocks in measured.items()}
        args.json.write({'images': images, 'blocks': lists})
    if args.figure:
        save_similarity(measured, images, args.figure)


def to_json(similarities: Sequence[Similarity]) -> list[dict[str, object]]:
    """Returns the similarities as values that JSON can hold.

    Args:
      similarities: the result of `snnjax.analysis.similarity.measure_similarity`.
    """
    return [
        {'block': block.block, 'ssim': block.mean, 'identical': block.identical}
        for block in similarities
    ]


def describe(similarities: Sequence[Similarity]) -> str:
    """Returns the similarities as text, with one row per block.

    Args:
      similarities: the result of `snnjax.analysis.similarity.measure_similarity`.
    """
    from snnjax.analysis.tables import text_table

    rows = [
        (block.block, '-', '-')
        if block.mean is None or block.identical is None
        else (block.block, f'{block.mean:.4f}', f'{block.identical:.1%}')
        for block in similarities
    ]
    unchanged = sum(block.unchanged for block in similarities)
    rounded = sum(block.mean is not None and block.mean >= 0.995 for block in similarities)
    return '\n'.join(
        [
            text_table(('block', 'SSIM', 'unchanged images'), rows),
            f'blocks with an SSIM of exactly 1 for every image: {unchanged}',
            f'blocks with an SSIM that rounds to 1.00: {rounded}',
        ]
    )


if __name__ == '__main__':
    sys.exit(main())
