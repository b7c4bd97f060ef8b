"""Makes a data set's files, ready for training, from its official download or from your own files.

  python -m snnjax.tools.prepare cifar10 --source=~/Downloads --data.dir=~/snnjax_data
  python -m snnjax.tools.prepare folder --name=flowers --source=~/flowers --data.dir=~/snnjax_data

A preparation that was stopped, however it was, goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from snnjax.errors import UserError
from snnjax.paths import expand
from snnjax.spelling import did_you_mean
from snnjax.tools.command_line import add_argument, new_parser, parse_and_run
from snnjax.tools.paths import output_path

if TYPE_CHECKING:
    from snnjax.data.records import Prepared

# Those of `snnjax.data.datasets`, which takes long to import.
DATASETS = (
    *('cifar10', 'cifar100', 'cifar10_dvs', 'dvs_gesture', 'events_folder', 'folder'),
    *('imagenet', 'nmnist'),
)

_SHOWN_CLASSES = 20


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('dataset', help=f'one of {", ".join(DATASETS)}')
    parser.add_argument(
        '--source', required=True, type=expand, help='the download: an archive, or its folder'
    )
    add_argument(
        parser,
        '--data.dir',
        '--data_dir',
        dest='data_dir',
        required=True,
        type=output_path,
        metavar='DIR',
        help='where the files are to go',
    )
    parser.add_argument('--name', help='folder, events_folder: what to call the data set')
    parser.add_argument(
        '--clip', type=int, help='events_folder: cut recordings, to so many microseconds each'
    )
    parser.add_argument(
        '--sensor_size',
        type=_sensor_size,
        metavar='WIDTHxHEIGHT',
        help='events_folder: of the camera of .bin files, as 240x180; default 34x34',
    )
    parser.add_argument(
        '--partial', action='store_true', help='imagenet: take what there is of the images'
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
        raise argparse.ArgumentTypeError(f'{text!r} is not WIDTHxHEIGHT in pixels, as 240x180')
    return int(match[1]), int(match[2])


def _options(args: argparse.Namespace) -> dict[str, object]:
    """The arguments that a plan takes beside its source."""
    from snnjax.data.datasets import NAMED_BY_USER, PLANS, READY

    options: dict[str, object] = {}
    for given, option, value, datasets in (
        (args.name is not None, 'name', args.name, NAMED_BY_USER),
        (args.clip is not None, 'clip', args.clip, ('events_folder',)),
        (args.sensor_size is not None, 'sensor_size', args.sensor_size, ('events_folder',)),
        (args.partial, 'complete', not args.partial, ('imagenet',)),
    ):
        if given and args.dataset not in datasets:
            raise ValueError(f'--{"partial" if option == "complete" else option} is for {datasets}')
        if given:
            options[option] = value
    if args.dataset in NAMED_BY_USER:
        name = args.name or ''
        if not name.isidentifier() or name in PLANS or name in READY:
            raise ValueError(
                f'{args.dataset} needs a --name of letters, digits and _, which is that of no '
                f'other data set; this is {name!r}'
            )
    return options


def prepare(dataset: str, source: Path, data_dir: Path, **options: object) -> None:
    """Reads a download, checks it, and writes ArrayRecord files; what is there stays.

    Args:
      dataset: a key of `snnjax.data.datasets.PLANS`.
      source: the download.
      data_dir: where the folder of the data set is to be.
      **options: of the plan.

    Raises:
      ValueError: for a data set that is unknown or needs no preparation, or files that are not the
        official ones.
      OSError: where ``source`` has not the files, or there is not enough space for them.
    """
    from snnjax.data import records
    from snnjax.data.datasets import PLANS, READY

    if dataset in READY:
        raise ValueError(f'{dataset} is read as it is: there is nothing to prepare')
    if dataset not in PLANS:
        raise ValueError(f'unknown data set {dataset!r}; {did_you_mean(dataset, [*PLANS, *READY])}')
    called = str(options.get('name', dataset))
    if records.is_prepared(data_dir, called):
        print(f'{called} is there already: {records.folder_of(data_dir, called)}')
        # It may be of another's making: what is not as it should be is found where it is opened.
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
    """Prints how many examples each split and each class has."""
    for split, size in prepared.sizes.items():
        print(f'{prepared.folder.parent.name} {split}: {size:,} examples')
    names = prepared.features['label'].names
    # Absent from data sets of earlier versions.
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
        rows += [f'  {min(of):,} to {max(of):,} a class in {split}' for split, of in sizes.items()]
    print('\n'.join(rows))


def _visible(name: str) -> str:
    """Returns a name with escapes in the place of characters that a terminal would act on."""
    return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


if __name__ == '__main__':
    sys.exit(main())
