"""Makes a data set's files, ready for training, from its official download or from your own files.

  python -m snnjax.tools.prepare cifar10 --source=~/Downloads --data_dir=~/snnjax_data
  python -m snnjax.tools.prepare folder --name=flowers --source=~/flowers --data_dir=~/snnjax_data

A preparation that was stopped, however it was, goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from absl import logging

from snnjax.data import records
from snnjax.data.datasets import NAMED_BY_USER, PLANS, READY
from snnjax.spelling import suggest


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', help=f'one of {", ".join(sorted(PLANS))}')
    parser.add_argument(
        '--source', required=True, type=Path, help='the download: an archive, or its folder'
    )
    parser.add_argument('--data_dir', required=True, type=Path, help='where the files are to go')
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
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # TFDS warns of what is about to be made.
    try:
        options = _options(args)
        prepare(args.dataset, args.source.expanduser(), args.data_dir.expanduser(), **options)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _sensor_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'([0-9]{1,5})x([0-9]{1,5})', text)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not WIDTHxHEIGHT in pixels, as 240x180')
    return int(match[1]), int(match[2])


def _options(args: argparse.Namespace) -> dict[str, object]:
    """The arguments that a plan takes beside its source."""
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
    if dataset in READY:
        raise ValueError(f'{dataset} is read as it is: there is nothing to prepare')
    if dataset not in PLANS:
        raise ValueError(f'unknown data set {dataset!r}; {suggest(dataset, [*PLANS, *READY])}')
    called = str(options.get('name', dataset))
    if records.is_prepared(data_dir, called):
        print(f'{called} is there already: {records.folder_of(data_dir, called)}')
        return
    plan = PLANS[dataset](source=source, **options)
    folder = records.write(plan, data_dir)
    for split, examples in plan.splits.items():
        print(f'{called} {split}: {len(examples):,} examples')
    print(f'written to {folder}')


if __name__ == '__main__':
    sys.exit(main())
