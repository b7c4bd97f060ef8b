"""Makes a data set's files, ready for training, from its official download.

python -m snnjax.tools.prepare cifar10 --source=~/Downloads --data_dir=~/snnjax_data
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from snnjax.data import DATASETS, get_dataset


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(name for name, dataset in DATASETS.items() if dataset.builder)
    parser.add_argument('dataset', help=f'one of {", ".join(names)}')
    parser.add_argument(
        '--source', required=True, type=Path, help='the download: an archive, or its folder'
    )
    parser.add_argument('--data_dir', required=True, type=Path, help='where the files are to go')
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # TFDS warns of what is about to be made.
    try:
        prepare(args.dataset, args.source.expanduser(), args.data_dir.expanduser())
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def prepare(name: str, source: Path, data_dir: Path) -> None:
    """Reads a download, checks it, and writes ArrayRecord files; what is there stays.

    Raises:
      ValueError: for a data set that is unknown or needs no preparation, or files that are not the
        official ones.
      FileNotFoundError: where ``source`` has not the files.
    """
    builder = get_dataset(name).builder_at(data_dir, source)
    if builder.is_prepared():
        print(f'{name} is there already: {builder.data_path}')
        return
    # Without this, TFDS would ask its own server for ready-made files first.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    for split in builder.info.splits.values():
        print(f'{name} {split.name}: {split.num_examples:,} examples')
    print(f'written to {builder.data_path}')


if __name__ == '__main__':
    sys.exit(main())
