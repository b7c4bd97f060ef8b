"""Data sets of encoded photos: ImageNet, and any data set with a folder per class.

The files are stored unchanged, without decoding.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from snnjax.data.records import Example, Examples, Plan
from snnjax.data.sources.archives import (
    ArchiveError,
    Member,
    check_archives,
    count_endings,
    locate,
    survey,
)
from snnjax.data.sources.class_folders import group_by_class, note_classes
from snnjax.data.sources.file_names import PHOTO, is_hidden, printable
from snnjax.data.sources.packed_photos import MAX_IMAGE_BYTES, PackedPhotos, read_packed

IMAGENET_SIZES = {'train': 1_281_167, 'test': 50_000}
_TRAIN_ARCHIVE = 'ILSVRC2012_img_train.tar'
_VALIDATION_ARCHIVE = 'ILSVRC2012_img_val.tar'
# torchvision checks the same checksums.
_IMAGENET_MD5 = {
    _TRAIN_ARCHIVE: '1d675b47d978889d74fa0da5fadfb00e',
    _VALIDATION_ARCHIVE: '29b22e2961454d5413ddabcf34fc5622',
}


class _Files:
    """Files as examples."""

    def __init__(self, labeled: Sequence[tuple[Member, int]]) -> None:
        self._labeled = labeled

    def __len__(self) -> int:
        return len(self._labeled)

    def __getitem__(self, number: int, /) -> Example:
        member, label = self._labeled[number]
        return {'image': member.read(), 'label': label, 'name': member.name}


class _Packed:
    """Images of an .npz file as examples."""

    def __init__(self, photos: PackedPhotos) -> None:
        self._photos = photos
        # Sorted by class, as files in folders are.
        self._order = np.argsort(photos.labels, kind='stable')

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int, /) -> Example:
        i = self._order[number]
        photos = self._photos
        return {'image': photos.photo(i), 'label': int(photos.labels[i]), 'name': photos.names[i]}


def _plan(
    name: str,
    class_names: list[str],
    splits: Mapping[str, Examples],
    labels: Mapping[str, Sequence[int]],
    identity: str,
    image_bytes: int,
    **about: Any,
) -> Plan:
    return Plan(
        name=name,
        features=tfds.features.FeaturesDict(
            {
                'image': tfds.features.Image(shape=(None, None, 3)),
                'label': tfds.features.ClassLabel(names=class_names),
                'name': tfds.features.Text(),
            }
        ),
        splits=splits,
        source=hashlib.sha256(identity.encode()).hexdigest(),
        example_bytes=image_bytes + 256,
        metadata={
            'class_sizes': {
                split: np.bincount(labels[split], minlength=len(class_names)).tolist()
                for split in splits
            }
        },
        **about,
    )


def _plan_files(
    name: str,
    class_names: list[str],
    by_split: Mapping[str, list[tuple[Member, int]]],
    **about: Any,
) -> Plan:
    members = [member for labeled in by_split.values() for member, _ in labeled]
    return _plan(
        name,
        class_names,
        {split: _Files(labeled) for split, labeled in by_split.items()},
        {split: [label for _, label in labeled] for split, labeled in by_split.items()},
        repr(
            [(s, m.name, m.size, m.modified, label) for s in by_split for m, label in by_split[s]]
        ),
        sum(member.size for member in members) // len(members),
        **about,
    )


def plan_folder(source: Path, name: str) -> Plan:
    """Returns the plan of a data set of photos in class folders or packed in .npz files.

    Args:
      source: a folder or an archive with a folder per class, or with ``train`` and ``val`` (or
        ``test``) that have such folders; or a packed .npz file; or a folder with one, or with
        ``*train*.npz`` and ``*val*.npz``. `snnjax.data.sources.packed_photos` has the format.
      name: the name of the data set.

    Raises:
      FileNotFoundError: if there are no photos.
      ValueError: if the layout is another one.
    """
    packed = [source] if source.suffix == '.npz' else sorted(source.glob('*.npz'))
    packed = [path for path in packed if path == source or not is_hidden(path.name)]
    if packed:
        return note_classes(_plan_packed(packed, name), _beside_packed(source))
    contents = survey(source, PHOTO, max_size=MAX_IMAGE_BYTES)
    folders = group_by_class(contents, source)
    description = f'Photos from {printable(source.name)}.'
    plan = _plan_files(name, folders.class_names, folders.splits, description=description)
    return note_classes(plan, folders.notes)


def _beside_packed(source: Path) -> list[str]:
    try:
        photos = survey(source, PHOTO, max_size=MAX_IMAGE_BYTES).members
    except (FileNotFoundError, ArchiveError):
        return []
    return [f'the source has .npz files, so other photos are not used: {len(photos):,}']


def _plan_packed(files: Sequence[Path], name: str) -> Plan:
    packed: dict[str, PackedPhotos] = {}
    for path in files:
        split = 'undivided' if len(files) == 1 else _split_of(path)
        if split in packed:
            raise ValueError(
                f'{path.parent} has several .npz files for the {split} split: keep one for train '
                f'and one for val'
            )
        packed[split] = read_packed(path)
    class_names = next(iter(packed.values())).class_names
    for path, photos in zip(files, packed.values(), strict=True):
        if photos.class_names != class_names:
            raise ValueError(
                f'{path} has other classes than {files[0]}: both need the same class_names'
            )
    order = sorted(packed, reverse=True)
    return _plan(
        name,
        class_names,
        {split: _Packed(packed[split]) for split in order},
        {split: packed[split].labels.tolist() for split in order},
        repr([(split, packed[split].fingerprint) for split in order]),
        max(len(photos.data) // len(photos) for photos in packed.values()),
        description=f'Photos from {files[0].name}.',
    )


def _split_of(path: Path) -> str:
    """Returns the split of one of two files, 'train' or 'test', from its name."""
    called = path.name.lower()
    if 'train' in called:
        return 'train'
    if 'val' in called or 'test' in called:
        return 'test'
    raise ValueError(f'{path} has neither train nor val in its name: rename it to say which it is')


def plan_imagenet(source: Path, complete: bool = True) -> Plan:
    """Returns the plan of ImageNet (ILSVRC 2012).

    Args:
      source: a folder with the two official tar files, or with class folders in ``train`` and
        ``val``. Instead of class folders, ``val`` may have the 50,000 images.
      complete: true to require all images, and the official checksums of tar files.

    Raises:
      FileNotFoundError: if the files are missing.
      ValueError: if an image belongs to no class, or images are missing.
    """
    if complete:
        check_archives(source, _IMAGENET_MD5)
    wnids = imagenet_wnids()
    label_of = {wnid: label for label, wnid in enumerate(wnids)}

    def training_label(member: Member) -> int:
        wnid = member.name.split('/')[-2] if '/' in member.name else ''
        if wnid not in label_of:
            raise ValueError(f'{member.name} is not in a class folder, such as {wnids[0]}')
        return label_of[wnid]

    def validation_label(member: Member) -> int:
        parent, _, name = member.name.rpartition('/')
        if parent.rpartition('/')[2] in label_of:
            return label_of[parent.rpartition('/')[2]]
        number = name.rpartition('.')[0].rpartition('_')[2]
        if not (number.isdecimal() and 1 <= int(number) <= len(imagenet_validation_wnids())):
            raise ValueError(
                f'{member.name} is not a validation image: expected ILSVRC2012_val_00000001.JPEG '
                f'to ILSVRC2012_val_00050000.JPEG'
            )
        return label_of[imagenet_validation_wnids()[int(number) - 1]]

    notes: list[str] = []
    by_split = {
        'train': _label(source, (_TRAIN_ARCHIVE, 'train'), training_label, notes),
        'test': _label(source, (_VALIDATION_ARCHIVE, 'val', 'validation'), validation_label, notes),
    }
    for split, expected in IMAGENET_SIZES.items():
        if complete and len(by_split[split]) != expected:
            raise ValueError(
                f'{source} has {len(by_split[split]):,} images for {split}, not {expected:,}: the '
                f'download is incomplete (--partial uses the images that are there)'
            )
    return _plan_files(
        'imagenet',
        wnids,
        by_split,
        description='ImageNet of the ILSVRC 2012: photos of 1,000 classes.',
        homepage='https://image-net.org/challenges/LSVRC/2012/',
        notes=notes,
    )


def _label(
    source: Path, names: Sequence[str], label_of: Callable[[Member], int], notes: list[str]
) -> list[tuple[Member, int]]:
    path = locate(source, *names)
    contents = survey(path, PHOTO, max_size=MAX_IMAGE_BYTES)
    if contents.others:
        notes.append(
            f'files of {path.name} skipped because of their suffix: '
            f'{count_endings(contents.others)}'
        )
    labeled = [(member, label_of(member)) for member in contents.members]
    return sorted(labeled, key=lambda pair: pair[1])


@functools.cache
def imagenet_wnids() -> list[str]:
    """Returns the 1,000 WordNet ids of the classes, in the order of their labels, from TFDS."""
    return _tfds_lines('labels.txt')


@functools.cache
def imagenet_validation_wnids() -> list[str]:
    """Returns the WordNet ids of the 50,000 validation images, in their order, from TFDS."""
    return _tfds_lines('validation_labels.txt')


def _tfds_lines(name: str) -> list[str]:
    return (
        (importlib.resources.files(tfds) / 'datasets' / 'imagenet2012' / name).read_text().split()
    )
