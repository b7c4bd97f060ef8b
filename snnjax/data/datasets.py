"""The data sets that training knows by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from snnjax.data import cifar
from snnjax.spelling import suggest


class DatasetNotPreparedError(FileNotFoundError):
    """A data set that has to be made from its official download first."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and labels in memory.

    Attributes:
      images: (N, H, W, C) uint8.
      labels: (N,) int32.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set of labelled images, with the splits 'train' and 'test'.

    Attributes:
      name: what configs call it.
      image_shape: (H, W, C).
      num_classes: labels are 0 to ``num_classes - 1``.
      mean: of the training images, by channel, in units of the stored pixels.
      std: likewise.
      builder: the TFDS builder that ``python -m snnjax.tools.prepare`` runs; None where there is
        nothing to prepare.
      read: ``(split, data_dir) -> Split``.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Callable[[str, str], Split]
    builder: type[tfds.core.DatasetBuilder] | None = None

    def builder_at(self, data_dir: str | Path, source: str | Path = '') -> tfds.core.DatasetBuilder:
        """The data set's builder for the prepared files in ``data_dir``."""
        if self.builder is None:
            raise ValueError(f'{self.name} is read as it is: there is nothing to prepare')
        return self.builder(data_dir=Path(data_dir).expanduser(), source=source)

    def check_prepared(self, data_dir: str) -> None:
        """Raises `DatasetNotPreparedError`, with the command to run, unless `load` would work."""
        if self.builder is None:
            return
        folder = Path(data_dir).expanduser() / self.name / str(self.builder.VERSION)
        if not (folder / 'dataset_info.json').exists():
            raise DatasetNotPreparedError(
                f'{self.name} is not prepared in {data_dir}; make it with\n  python -m '
                f'snnjax.tools.prepare {self.name} --source=FOLDER_WITH_THE_DOWNLOAD '
                f'--data_dir={data_dir}'
            )

    def load(self, split: str, data_dir: str) -> Split:
        """The images of 'train' or 'test', in the data set's own order."""
        self.check_prepared(data_dir)
        return self.read(split, data_dir)


def get_dataset(name: str) -> Dataset:
    """The data set of that name; ValueError with the nearest names where there is none."""
    try:
        return DATASETS[name]
    except KeyError:
        raise ValueError(f'unknown data set {name!r}; {suggest(name, DATASETS)}') from None


def _read_digits(split: str, data_dir: str) -> Split:
    """scikit-learn's handwritten digits; every fifth image is a test image."""
    del data_dir
    import sklearn.datasets  # It takes longer to import than all else together.

    digits = sklearn.datasets.load_digits()
    is_test = np.arange(len(digits.target)) % 5 == 0
    chosen = is_test if split == 'test' else ~is_test
    images = digits.images[chosen, ..., None].astype(np.uint8)
    return Split(images, digits.target[chosen].astype(np.int32))


def _read_prepared(name: str) -> Callable[[str, str], Split]:
    def read(split: str, data_dir: str) -> Split:
        source = DATASETS[name].builder_at(data_dir).as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        images = np.stack([example['image'] for example in examples])
        labels = np.array([example['label'] for example in examples], np.int32)
        return Split(images, labels)

    return read


DATASETS: dict[str, Dataset] = {
    'digits': Dataset(
        name='digits',
        image_shape=(8, 8, 1),
        num_classes=10,
        # Pixels are 0 to 16.
        mean=(4.8834,),
        std=(6.0211,),
        read=_read_digits,
    ),
    'cifar10': Dataset(
        name='cifar10',
        image_shape=(32, 32, 3),
        num_classes=10,
        mean=(125.307, 122.950, 113.865),
        std=(62.993, 62.089, 66.705),
        read=_read_prepared('cifar10'),
        builder=cifar.Cifar10,
    ),
    'cifar100': Dataset(
        name='cifar100',
        image_shape=(32, 32, 3),
        num_classes=100,
        # 255 times the (0.5071, 0.4865, 0.4409) and (0.2673, 0.2564, 0.2762) in common use.
        mean=(129.304, 124.070, 112.434),
        std=(68.170, 65.392, 70.418),
        read=_read_prepared('cifar100'),
        builder=cifar.Cifar100,
    ),
}
