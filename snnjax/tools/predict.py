"""Classifies photos or event recordings with trained weights.

  python -m snnjax.tools.predict --weights=runs/flowers daisy.jpg rose.png
  python -m snnjax.tools.predict --weights=runs/flowers holiday/ --json=holiday.json

Photos may have any size; they are preprocessed as in an evaluation. For a folder, all photos or
recordings in it are classified. Each printed line has a file, its most likely classes with their
softmax probabilities, and the firing rate of the network: spikes per neuron and time step.

Weights that were trained on recordings classify recordings: AEDAT 2.0, AEDAT 3.1, or files of 40
bits per event (.bin). Each recording is classified as a whole.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnjax.data.sources.file_names import PHOTO, RECORDING, is_hidden
from snnjax.errors import ConfigError
from snnjax.spelling import natural_order
from snnjax.tools.command_line import add_json_argument, new_parser, parse_and_run
from snnjax.tools.paths import local_path, output_file
from snnjax.tools.terminal import fit_terminal
from snnjax.tools.weights_arguments import (
    add_checkpoint_argument,
    add_data_arguments,
    add_weights_argument,
    data_changes,
)

if TYPE_CHECKING:
    from snnjax.analysis.inference import LoadedModel, Result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    add_weights_argument(parser)
    parser.add_argument(
        'files', nargs='+', type=local_path, metavar='FILE', help='photo, recording or folder'
    )
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--num_steps', type=int, help='number of time steps; default: that of training'
    )
    parser.add_argument(
        '--batch_size', type=int, default=32, help='number of files per forward pass; default 32'
    )
    add_json_argument(parser)
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    add_data_arguments(parser)
    return parse_and_run(_predict, parser, argv)


def _predict(args: argparse.Namespace) -> None:
    from snnjax.analysis.inference import load
    from snnjax.analysis.runs import write_table

    if args.batch_size < 1:
        raise ConfigError(f'--batch_size={args.batch_size} must be at least 1')
    loaded = load(
        args.weights,
        num_steps=args.num_steps,
        checkpoint=args.checkpoint,
        data=data_changes(args),
    )
    files = list(find_inputs(args.files, loaded))
    for note in loaded.notes:
        print(f'note: {note}', file=sys.stderr)
    found = []
    results = loaded.classify_each(files, batch_size=args.batch_size)
    for file, result in zip(files, results, strict=True):
        found.append(describe(file, result))
        print(fit_terminal(_line(file, result)), flush=True)
    if args.json:
        args.json.write(found)
    if args.csv:
        write_table(args.csv, [_row(one) for one in found])


def find_inputs(paths: Sequence[Path], loaded: LoadedModel) -> Iterator[Path]:
    """Yields the given files, and the photos or recordings in the given folders.

    Args:
      paths: the paths of files and folders.
      loaded: the network; it takes either photos or recordings.

    Raises:
      InputError: if a file is missing, or a folder has no photo or recording.
    """
    from snnjax.data.transforms.preprocessing import InputError

    ending = RECORDING if loaded.preprocessing.is_events else PHOTO
    for path in paths:
        if not path.is_dir():
            if not path.is_file():
                raise InputError(f'{path}: no such file')
            yield path
            continue
        inside = [
            file
            for file in path.rglob('*')
            if re.fullmatch(ending, file.suffix, re.IGNORECASE)
            and not is_hidden(file.relative_to(path).as_posix())
            and file.is_file()
        ]
        if not inside:
            kind = 'recordings' if loaded.preprocessing.is_events else 'photos'
            raise InputError(f'{path}: no {kind} in this folder')
        yield from sorted(inside, key=lambda file: natural_order(str(file)))


def describe(file: Path, result: Result) -> dict[str, Any]:
    """Returns the prediction for a file as values that JSON can hold.

    Args:
      file: the path of the file.
      result: the prediction of the network.

    Returns:
      A dictionary with ``file``, ``predictions`` and ``firing_rate``. The predictions are
      dictionaries with ``class``, ``label`` and ``probability``, the most likely class first.
    """
    return {
        'file': str(file),
        'predictions': [
            {'class': guess.name, 'label': guess.label, 'probability': guess.probability}
            for guess in result.top
        ],
        'firing_rate': result.firing_rate,
    }


def _row(described: dict[str, Any]) -> dict[str, Any]:
    best = described['predictions'][0]
    return {'file': described['file'], **best, 'firing_rate': described['firing_rate']}


def _line(file: Path, result: Result) -> str:
    classes = ', '.join(f'{_shown(g.name)} {100 * g.probability:.1f} %' for g in result.top)
    return f'{_shown(str(file))}: {classes}; firing rate {result.firing_rate:.4f}'


def _shown(text: str) -> str:
    """Returns a text with its control characters escaped, because a terminal would act on them."""
    return text if text.isprintable() else ascii(text)


if __name__ == '__main__':
    sys.exit(main())
