"""The event-camera data sets: the layout of their downloads, and the form in which they are stored.

An example stores its events as compressed columns, with the time since the previous event in place
of the time. TFDS reads the columns as arrays. Frames are made on access.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds

from snnjax.data.records import Example, Plan
from snnjax.data.sources import event_files
from snnjax.data.sources.archives import Member, check_archives, find_members, locate, survey
from snnjax.data.sources.class_folders import group_by_class, note_classes
from snnjax.data.sources.event_files import EventFileError, Events
from snnjax.data.sources.file_names import RECORDING, printable

T = TypeVar('T')

MAX_RECORDING_BYTES = 2**30
"""The largest file that is read; an hour of a DVS128 has less."""


def pack(events: Events) -> dict[str, np.ndarray]:
    """Returns the stored columns of a recording: ``x``, ``y``, ``on`` and ``elapsed``.

    Raises:
      EventFileError: if 36 minutes or more pass between two events.
    """
    since = np.diff(events.t, prepend=events.t[:1])
    if len(since) and np.abs(since).max() >= 2**31:
        raise EventFileError('36 minutes or more pass between two events: split the recording')
    dtype = np.uint8 if max(events.width, events.height) <= 256 else np.uint16
    return {
        'x': events.x.astype(dtype),
        'y': events.y.astype(dtype),
        'on': events.on.astype(np.uint8),
        'elapsed': since.astype(np.int32),
    }


def unpack(example: Mapping[str, Any], height: int, width: int) -> Events:
    """Returns the events of a stored example; time begins at 0.

    Args:
      example: an example with the columns that `pack` returns.
      height: the number of rows of the camera.
      width: the number of columns of the camera.
    """
    return Events(
        x=example['x'].astype(np.uint16),
        y=example['y'].astype(np.uint16),
        on=example['on'].astype(bool),
        t=np.cumsum(example['elapsed'], dtype=np.int64),
        height=height,
        width=width,
    )


@dataclasses.dataclass(frozen=True)
class Recording:
    """A future example: a file or a part of it, with its label.

    Attributes:
      member: the file.
      label: the label.
      start: the start of the part in microseconds; None for the whole file.
      stop: the end of the part in microseconds; None for the whole file.
    """

    member: Member
    label: int
    start: int | None = None
    stop: int | None = None

    @property
    def name(self) -> str:
        """Returns the name of the file, with the part in microseconds if it is not the whole."""
        part = '' if self.start is None else f'@{self.start}-{self.stop}'
        return self.member.name + part


class _Examples:
    """Recordings as examples; the last file is cached, since neighbors are mostly in one file."""

    def __init__(self, recordings: Sequence[Recording], read: Callable[[bytes], Events]) -> None:
        self._recordings = recordings
        self._read = read
        self._last: tuple[Member, Events] | None = None

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, number: int, /) -> Example:
        recording = self._recordings[number]
        events = self._events(recording.member)
        if recording.start is not None and recording.stop is not None:
            events = events.between(recording.start, recording.stop)
        return {'label': recording.label, 'name': recording.name, **pack(events)}

    def _events(self, member: Member) -> Events:
        if self._last is None or self._last[0] != member:
            # Freed first, so that two long recordings are never in memory together.
            self._last = None
            self._last = member, read_member(member, self._read)
        return self._last[1]


def read_member(member: Member, read: Callable[[bytes], T]) -> T:
    """Reads a file with a reader of `snnjax.data.sources.event_files`.

    Args:
      member: the file.
      read: the reader, a function of the bytes of the file.

    Raises:
      EventFileError: if the reader raises it; the name of the file is added to the message.
    """
    try:
        return read(member.read())
    except EventFileError as error:
        raise EventFileError(f'{member.name}: {error}') from error


def _plan(
    name: str,
    class_names: list[str],
    splits: Mapping[str, Sequence[Recording]],
    read: Callable[[bytes], Events],
    shape: tuple[int, int],
    **about: str,
) -> Plan:
    """Returns the plan of a data set of recordings of a camera of ``shape`` (H, W)."""
    height, width = shape
    dtype = np.uint8 if max(shape) <= 256 else np.uint16
    recordings = [recording for split in splits.values() for recording in split]
    # An event has up to eight bytes in the source, and about five once stored.
    mean_size = sum({r.member: r.member.size for r in recordings}.values()) // max(
        len(recordings), 1
    )
    identity = [
        (split, r.name, r.member.size, r.member.modified, r.label)
        for split in splits
        for r in splits[split]
    ]
    return Plan(
        name=name,
        features=tfds.features.FeaturesDict(
            {
                'x': _column(dtype),
                'y': _column(dtype),
                'on': _column(np.uint8),
                'elapsed': _column(np.int32),
                'label': tfds.features.ClassLabel(names=class_names),
                'name': tfds.features.Text(),
            }
        ),
        splits={split: _Examples(parts, read) for split, parts in splits.items()},
        source=hashlib.sha256(repr(identity).encode()).hexdigest(),
        example_bytes=mean_size + 1024,
        metadata={
            'height': height,
            'width': width,
            'class_sizes': {
                split: np.bincount(
                    np.array([r.label for r in parts], np.int64), minlength=len(class_names)
                ).tolist()
                for split, parts in splits.items()
            },
        },
        **about,
    )


def _column(dtype: Any) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=(None,), dtype=dtype, encoding=tfds.features.Encoding.ZLIB)


# tonic and SpikingJelly check the same checksums.
_NMNIST_MD5 = {
    'Train.zip': '20959b8e626244a1b502305a9e6e2031',
    'Test.zip': '69ca8762b2fe404d9b9bad1103e97832',
}


def plan_nmnist(source: Path) -> Plan:
    """Returns the plan of N-MNIST (Orchard et al. 2015).

    Args:
      source: a folder with ``Train.zip`` and ``Test.zip``, or with the folders ``Train`` and
        ``Test``.
    """
    check_archives(source, _NMNIST_MD5)
    splits = {}
    for split, folder in (('train', 'Train'), ('test', 'Test')):
        path = locate(source, f'{folder}.zip', folder)
        members = find_members(path, r'(?:^|/)\d/\d+\.bin', max_size=2**20, max_members=60_000)
        splits[split] = sorted(
            (Recording(member, int(member.name.split('/')[-2])) for member in members),
            key=lambda recording: recording.label,
        )
    return _plan(
        'nmnist',
        [str(digit) for digit in range(10)],
        splits,
        event_files.read_nmnist,
        (34, 34),
        description='The digits of MNIST, recorded with a moving event camera, 34x34 pixels.',
        homepage='https://www.garrickorchard.com/datasets/n-mnist',
    )


_CIFAR10_DVS_MD5 = {
    'airplane.zip': '0afd5c4bf9ae06af762a77b180354fdd',
    'automobile.zip': '8438dfeba3bc970c94962d995b1b9bdd',
    'bird.zip': 'a9c207c91c55b9dc2002dc21c684d785',
    'cat.zip': '52c63c677c2b15fa5146a8daf4d56687',
    'deer.zip': 'b6bf21f6c04d21ba4e23fc3e36c8a4a3',
    'dog.zip': 'f379ebdf6703d16e0a690782e62639c3',
    'frog.zip': 'cad6ed91214b1c7388a5f6ee56d08803',
    'horse.zip': 'e7cbbf77bec584ffbf913f00e682782a',
    'ship.zip': '41c7bd7d6b251be82557c6cce9a7d5c9',
    'truck.zip': '89f3922fd147d9aeff89e76a2b0b70a7',
}
_CIFAR10_DVS_CLASSES = [name.removesuffix('.zip') for name in _CIFAR10_DVS_MD5]


def plan_cifar10_dvs(source: Path) -> Plan:
    """Returns the plan of CIFAR10-DVS (Li et al. 2017).

    Args:
      source: a folder with the ten archives, ``airplane.zip``, ..., or with their folders.
    """
    check_archives(source, _CIFAR10_DVS_MD5)
    recordings = []
    for label, name in enumerate(_CIFAR10_DVS_CLASSES):
        members = find_members(
            locate(source, f'{name}.zip', name),
            rf'cifar10_{name}_\d+\.aedat',
            max_size=MAX_RECORDING_BYTES,
            max_members=1000,
        )
        recordings += [Recording(member, label) for member in members]
    return _plan(
        'cifar10_dvs',
        _CIFAR10_DVS_CLASSES,
        {'undivided': recordings},
        event_files.read_aedat2,
        (128, 128),
        description='1,000 images per class of CIFAR-10, moved in front of an event camera.',
        homepage='https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671',
    )


_GESTURE_MD5 = {'DvsGesture.tar.gz': '8a5c71fb11e24e5ca5b11866ca6c00a1'}
_GESTURES = """
    hand_clapping right_hand_wave left_hand_wave right_arm_clockwise right_arm_counter_clockwise
    left_arm_clockwise left_arm_counter_clockwise arm_roll air_drums air_guitar other_gestures
""".split()


def plan_dvs_gesture(source: Path) -> Plan:
    """Returns the plan of DVS128 Gesture (Amir et al. 2017).

    Args:
      source: a folder with ``DvsGesture.tar.gz`` or the unpacked ``DvsGesture``, or one of the two.
    """
    check_archives(source, _GESTURE_MD5)
    members = find_members(
        locate(source, 'DvsGesture.tar.gz', 'DvsGesture'),
        r'user\d+_\w+?(?:\.aedat|_labels\.csv)|trials_to_(?:train|test)\.txt',
        max_size=MAX_RECORDING_BYTES,
        max_members=1000,
    )
    by_name = {member.name.rpartition('/')[2]: member for member in members}
    splits: dict[str, list[Recording]] = {}
    for split in ('train', 'test'):
        splits[split] = []
        for name in _find(by_name, f'trials_to_{split}.txt', source).read().decode().split():
            recording = _find(by_name, name, source)
            labels = _find(by_name, name.removesuffix('.aedat') + '_labels.csv', source)
            splits[split] += [
                Recording(recording, *trial)
                for trial in read_member(labels, event_files.read_gesture_labels)
            ]
    return _plan(
        'dvs_gesture',
        _GESTURES,
        splits,
        event_files.read_aedat3,
        (128, 128),
        description='Eleven gestures of 29 people, recorded with a 128x128 event camera.',
        homepage='https://research.ibm.com/interactive/dvsgesture/',
    )


def _find(by_name: Mapping[str, Member], name: str, source: Path) -> Member:
    if name not in by_name:
        raise FileNotFoundError(f'no {name} in {source}: the download is incomplete')
    return by_name[name]


_READERS: dict[str, tuple[Callable[[bytes], Events], tuple[int, int]]] = {
    '.aedat': (event_files.read_aedat2, (128, 128)),
    '.bin': (event_files.read_nmnist, (34, 34)),
}


def plan_events_folder(
    source: Path, name: str, clip: int = 0, sensor_size: tuple[int, int] | None = None
) -> Plan:
    """Returns the plan of a data set of recordings in class folders.

    Args:
      source: a folder or an archive with a folder per class, or with ``train`` and ``test`` that
        have such folders. The files are AEDAT 2.0 (.aedat) or have 40 bits per event (.bin).
      name: the name of the data set.
      clip: the length of the parts into which recordings are cut, in microseconds; 0 for whole
        recordings. An incomplete part at the end, and parts without events, are dropped.
      sensor_size: the columns and rows of the camera of .bin files, which do not include them; None
        for the 34x34 of N-MNIST.

    Raises:
      ValueError: if there are files of both formats or files outside of class folders, or if
        ``sensor_size`` is invalid or given for .aedat files.
    """
    if clip < 0:
        raise ValueError(
            f'clips of {clip} µs: the length must be at least 1 µs, or 0 for whole recordings'
        )
    contents = survey(source, RECORDING, max_size=MAX_RECORDING_BYTES)
    suffixes = {member.name.rpartition('.')[2].lower().strip() for member in contents.members}
    if len(suffixes) > 1:
        raise ValueError(f'{source} has .aedat and .bin files: prepare them separately')
    read, shape = _READERS[suffix := f'.{suffixes.pop()}']
    if sensor_size is not None:
        if suffix != '.bin':
            raise ValueError(
                f'--sensor_size is for .bin files, but {source} has .aedat files: leave it out'
            )
        width, height = sensor_size
        read, shape = _of_camera(height, width), (height, width)
    folders = group_by_class(contents, source)
    plan = _plan(
        name,
        folders.class_names,
        {
            split: [
                part
                for member, label in labeled
                for part in _clips(Recording(member, label), read, clip)
            ]
            for split, labeled in folders.splits.items()
        },
        read,
        shape,
        description=f'Recordings of an event camera, from {printable(source.name)}.',
    )
    return note_classes(plan, folders.notes)


def _of_camera(height: int, width: int) -> Callable[[bytes], Events]:
    """Returns a reader of 40 bits per event for a camera.

    Raises:
      EventFileError: if the camera is too large for the format.
    """
    read = functools.partial(event_files.read_nmnist, height=height, width=width)
    read(b'')
    return read


def _clips(recording: Recording, read: Callable[[bytes], Events], clip: int) -> Iterator[Recording]:
    if not clip:
        yield recording
        return
    t = read_member(recording.member, read).t
    if not len(t):
        return
    first, last = int(t.min()), int(t.max())
    for number in np.unique((t - first) // clip).tolist():
        start = first + number * clip
        if start + clip <= last + 1:
            yield dataclasses.replace(recording, start=start, stop=start + clip)
