"""Prepares a data set for training, from its official download or from your own files.

  python -m snnjax.tools.prepare cifar10 --source=~/Downloads --data.dir=~/snnjax_data
  python -m snnjax.tools.prepare folder --name=flowers --source=~/flowers --data.dir=~/snnjax_data

To resume a stopped preparation, run the same command again.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from snnjax.errors import UserError
from snnjax.spelling import count, did_you_mean
from snnjax.tools.command_line import add_argument, new_parser, parse_and_run
from snnjax.tools.paths import local_path, output_path

if TYPE_CHECKING:
    from snnjax.data.records import Prepared

# The names are those of `snnjax.data.datasets`, which is slow to import.
DATASETS = (
    *('cifar10', 'cifar100', 'cifar10_dvs', 'dvs_gesture', 'events_folder', 'folder'),
    *('imagenet', 'nmnist'),
)

_SHOWN_CLASSES = 20


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('dataset', help=f'data set: {", ".join(DATASETS)}')
    parser.add_argument(
        '--source', required=True, type=local_path, help='download: an archive or a folder'
    )
    add_argument(
        parser,
        '--data.dir',
        '--data_dir',
        dest='data_dir',
        required=True,
        type=output_path,
        metavar='DIR',
        help='folder to write the data set to',
    )
    parser.add_argument('--name', help='folder, events_folder: name of the data set')
    parser.add_argument(
        '--clip', type=int, help='events_folder: length in microseconds to cut recordings to'
    )
    parser.add_argument(
        '--sensor_size',
        type=_sensor_size,
        metavar='WIDTHxHEIGHT',
        help='events_folder: camera resolution of .bin files, as 240x180; default 34x34',
    )
    parser.add_argument(
        '--partial', action='store_true', help='imagenet: accept a download with missing images'
    )
    return parse_and_run(_prepare, parser, argv)


def _prepare(args: argparse.Namespace) -> None:
    try:
        prepare(args.dataset, args.source, args.data_dir, **_options(args))
    except ValueError as error:
        raise UserError(str(error)) from error


def _sensor_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'([0-9]{1,5})x([0-9]{1,5})', text)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r} must be WIDTHxHEIGHT in pixels, as 240x180')
    return int(match[1]), int(match[2])


def _options(args: argparse.Namespace) -> dict[str, object]:
    """Returns the arguments of a plan besides its source.

    Raises:
      ValueError: if an argument does not belong to the data set, or its name is missing or taken.
    """
    from snnjax.data.datasets import NAMED_BY_USER, PLANS, READY

    options: dict[str, object] = {}
    for given, option, value, datasets in (
        (args.name is not None, 'name', args.name, NAMED_BY_USER),
        (args.clip is not None, 'clip', args.clip, ('events_folder',)),
        (args.sensor_size is not None, 'sensor_size', args.sensor_size, ('events_folder',)),
        (args.partial, 'complete', not args.partial, ('imagenet',)),
    ):
        if given and args.dataset not in datasets:
            flag = 'partial' if option == 'complete' else option
            raise ValueError(f'--{flag} is for {" and ".join(datasets)} only: leave it out')
        if given:
            options[option] = value
    if args.dataset in NAMED_BY_USER:
        name = args.name or ''
        if not name.isidentifier() or name in PLANS or name in READY:
            raise ValueError(
                f'{args.dataset} needs a --name of letters, digits and _ that no other data set '
                f'has; got {name!r}'
            )
    return options


def prepare(dataset: str, source: Path, data_dir: Path, **options: object) -> None:
    """Reads and checks a download, and writes ArrayRecord files unless they already exist.

    Args:
      dataset: a key of `snnjax.data.datasets.PLANS`.
      source: the archive or folder of the download.
      data_dir: the folder to create the folder of the data set in.
      **options: the options of the plan.

    Raises:
      ValueError: if the data set is unknown or needs no preparation, or the files are not the
        official ones.
      OSError: if ``source`` lacks files, or the disk lacks space.
    """
    from snnjax.data import records
    from snnjax.data.datasets import PLANS, READY

    if dataset in READY:
        raise ValueError(f'{dataset} needs no preparation: train on it directly')
    if dataset not in PLANS:
        raise ValueError(f'unknown data set {dataset!r}; {did_you_mean(dataset, [*PLANS, *READY])}')
    called = str(options.get('name', dataset))
    if records.is_prepared(data_dir, called):
        print(f'{called} already exists: {records.folder_of(data_dir, called)}')
        # Other software may have written the data set; opening it reports what is wrong.
        with contextlib.suppress(AttributeError, IndexError, KeyError, TypeError, ValueError):
            _print_classes(records.Prepared(data_dir, called))
        return
    plan = PLANS[dataset](source=source, **options)
    folder = records.write(plan, data_dir)
    _print_classes(records.Prepared(data_dir, called))
    for note in plan.notes:
        print(f'note: {note}')
    print(f'written to {folder}')


def _print_classes(prepared: Prepared) -> None:
    """Prints the number of examples of each split and each class."""
    for split, size in prepared.sizes.items():
        print(f'{prepared.folder.parent.name} {split}: {count(size, "example")}')
    names = prepared.features['label'].names
    # Data sets of earlier versions have no class sizes.
    sizes = prepared.metadata.get('class_sizes', {})
    rows = [
        '  '.join(
            [f'  {_visible(name)}', *(f'{of[label]:,} {split}' for split, of in sizes.items())]
        )
        for label, name in enumerate(names)
    ]
    print(f'classes ({len(names):,}):')
    if len(rows) > _SHOWN_CLASSES:
        half = _SHOWN_CLASSES // 2
        rows[half:-half] = [f'  … {len(rows) - 2 * half:,} more …']
        rows += [
            f'  {min(of):,} to {max(of):,} per class in {split}' for split, of in sizes.items()
        ]
    print('\n'.join(rows))


def _visible(name: str) -> str:
    """Returns a name with its control characters escaped, because a terminal would act on them."""
    return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


if __name__ == '__main__':
    sys.exit(main())
