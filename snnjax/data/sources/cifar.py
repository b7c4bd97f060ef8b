"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): reading and preparing the official files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from snnjax.data.records import Plan

_HOMEPAGE = 'https://www.cs.toronto.edu/~kriz/cifar.html'
_CITATION = """@techreport{krizhevsky2009learning,
  author = {Alex Krizhevsky},
  title = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year = {2009},
}"""


@dataclasses.dataclass(frozen=True)
class Download:
    """An official download.

    The checksums are those that torchvision checks, too.

    Attributes:
      archive: the file name of the archive.
      archive_md5: the MD5 checksum of the archive.
      folder: the folder that the archive unpacks to.
      md5: the MD5 checksum of each file, by split and file name.
      label_keys: the key of each kind of label in the files, by its name in examples.
      class_names: the class names for each kind of label.
      mean: the mean of the training pixels by channel, 0 to 255.
      std: the standard deviation of the training pixels by channel, 0 to 255.
    """

    archive: str
    archive_md5: str
    folder: str
    md5: Mapping[str, Mapping[str, str]]
    label_keys: Mapping[str, bytes]
    class_names: Mapping[str, list[str]]
    mean: tuple[float, ...]
    std: tuple[float, ...]


CIFAR10 = Download(
    archive='cifar-10-python.tar.gz',
    archive_md5='c58f30108f718f92721af3b95e74349a',
    folder='cifar-10-batches-py',
    md5={
        'train': {
            'data_batch_1': 'c99cafc152244af753f735de768cd75f',
            'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
            'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
            'data_batch_4': '634d18415352ddfa80567beed471001a',
            'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
        },
        'test': {'test_batch': '40351d587109b95175f43aff81a1287e'},
    },
    label_keys={'label': b'labels'},
    class_names={'label': 'airplane automobile bird cat deer dog frog horse ship truck'.split()},
    mean=(125.307, 122.950, 113.865),
    std=(62.993, 62.089, 66.705),
)

CIFAR100 = Download(
    archive='cifar-100-python.tar.gz',
    archive_md5='eb9058c3a382ffc7106e4002c42a8d85',
    folder='cifar-100-python',
    md5={
        'train': {'train': '16019d7e3df5f24257cddd939b257f8d'},
        'test': {'test': 'f0ef6b0ae62326f3e7ffdfab6717acfc'},
    },
    label_keys={'label': b'fine_labels', 'coarse_label': b'coarse_labels'},
    class_names={
        'label': """
            apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
            butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
            couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
            house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
            motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
            pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket
            rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
            sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
            turtle wardrobe whale willow_tree wolf woman worm
        """.split(),
        'coarse_label': """
            aquatic_mammals fish flowers food_containers fruit_and_vegetables
            household_electrical_devices household_furniture insects large_carnivores
            large_man-made_outdoor_things large_natural_outdoor_scenes
            large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles
            small_mammals trees vehicles_1 vehicles_2
        """.split(),
    },
    # 255 times the values in common use, (0.5071, 0.4865, 0.4409) and (0.2673, 0.2564, 0.2762).
    mean=(129.304, 124.070, 112.434),
    std=(68.170, 65.392, 70.418),
)

DOWNLOADS = {'cifar10': CIFAR10, 'cifar100': CIFAR100}


def read_official(source: str | Path, download: Download, split: str) -> Iterator[dict[str, Any]]:
    """Yields the examples of the official files, in their order.

    Args:
      source: the archive, the folder that it unpacks to, or a folder that contains one of the two.
      download: the download to read.
      split: the split, 'train' or 'test'.

    Yields:
      ``image`` (32, 32, 3) uint8 RGB, and an integer for each of ``download.label_keys``.

    Raises:
      FileNotFoundError: if ``source`` does not have the download.
      ValueError: if a file differs from the official one.
    """
    md5 = download.md5[split]
    contents = _read_files(Path(source), download, list(md5))
    for name, expected in md5.items():
        _check_md5(name, hashlib.md5(contents[name], usedforsecurity=False), expected)
        batch = _PixelUnpickler(io.BytesIO(contents[name]), encoding='bytes').load()
        images = batch[b'data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = [batch[key] for key in download.label_keys.values()]
        for image, *values in zip(images, *labels, strict=True):
            yield {'image': image} | dict(zip(download.label_keys, values, strict=True))


def _read_files(source: Path, download: Download, names: list[str]) -> dict[str, bytes]:
    """Returns the contents of files by name, from the unpacked folder or else the archive."""
    for folder in (source, source / download.folder):
        if (folder / names[0]).is_file():
            return {name: (folder / name).read_bytes() for name in names}
    for archive in (source, source / download.archive):
        if archive.is_file():
            return _read_members(archive, download, names)
    raise FileNotFoundError(
        f'no {names[0]} in {source}: give the folder {download.folder} or the archive '
        f'{download.archive} of {_HOMEPAGE}'
    )


def _read_members(archive: Path, download: Download, names: list[str]) -> dict[str, bytes]:
    """Returns the contents of members by name, without unpacking the archive to disk."""
    with archive.open('rb') as file:
        _check_md5(archive.name, hashlib.file_digest(file, 'md5'), download.archive_md5)
    wanted = {f'{download.folder}/{name}': name for name in names}
    contents = {}
    with tarfile.open(archive, 'r|gz') as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name in wanted else None
            if content:
                contents[wanted[member.name]] = content.read()
    return contents


def _check_md5(name: str, digest: Any, expected: str) -> None:
    if digest.hexdigest() != expected:
        raise ValueError(
            f'{name} has MD5 {digest.hexdigest()}, but the official file has {expected}: download '
            f'it again from {_HOMEPAGE}'
        )


class _PixelUnpickler(pickle.Unpickler):
    """An unpickler of the official files, Python 2 pickles, that can build only arrays."""

    _allowed: ClassVar = {
        ('numpy.core.multiarray', '_reconstruct'): np.empty(0).__reduce__()[0],
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'dtype'): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise ValueError(f'{module}.{name} does not belong in an image file') from None


def plan(name: str, download: Download, source: Path) -> Plan:
    """Returns the plan of a data set with the official examples, in the official order.

    Args:
      name: the name of the data set.
      download: the download to read.
      source: the archive or folder, as in `read_official`.

    Raises:
      FileNotFoundError: if ``source`` does not have the download.
      ValueError: if a file differs from the official one.
    """
    labels = {
        key: tfds.features.ClassLabel(names=names) for key, names in download.class_names.items()
    }
    image = tfds.features.Tensor(
        shape=(32, 32, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
    )
    splits = {split: list(read_official(source, download, split)) for split in download.md5}
    sizes = {
        split: np.bincount(
            [example['label'] for example in examples], minlength=labels['label'].num_classes
        ).tolist()
        for split, examples in splits.items()
    }
    return Plan(
        name=name,
        features=tfds.features.FeaturesDict({'image': image} | labels),
        splits=splits,
        source=repr(download.md5),
        example_bytes=32 * 32 * 3 + 128,
        description=f'{len(labels["label"].names)} classes of 32x32 color photographs.',
        homepage=_HOMEPAGE,
        citation=_CITATION,
        metadata={'class_sizes': sizes},
    )
