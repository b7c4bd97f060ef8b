"""Photos packed in an .npz file, which is checked before its arrays are allocated.

The file has the arrays ``data`` (B,), the concatenated bytes of all photos; ``offsets`` (N + 1,),
the start of each photo in ``data`` and the end of the last; ``labels`` (N,); ``names`` (N,); and
optionally ``class_names``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from snnjax.data.metadata import MAX_CLASSES

MAX_IMAGE_BYTES = 2**26
MAX_EXPANSION = 20
"""The largest ratio of the size of the arrays to that of the file; photos hardly compress."""
SMALL = 2**26
"""The size of the arrays, in bytes, up to which any ratio is allowed."""

_REQUIRED = ('data', 'offsets', 'labels', 'names')
_OPTIONAL = ('class_names',)


@dataclasses.dataclass(frozen=True)
class PackedPhotos:
    """The photos of an .npz file.

    Attributes:
      data: uint8 array of shape (B,), the concatenated photos.
      offsets: int64 array of shape (N + 1,), the start of each photo in ``data``, and the end of
        the last.
      labels: int64 array of shape (N,), from 0.
      names: the N names of the photos.
      class_names: the name of each class.
      fingerprint: a text that changes with the content.
    """

    data: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    names: list[str]
    class_names: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def photo(self, index: int) -> bytes:
        """Returns the encoded photo at an index."""
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()


def read_packed(path: Path) -> PackedPhotos:
    """Reads an .npz file of photos.

    Labels may be integers, floats with integer values, or class names; their shape is (N,) or
    (N, 1). Without ``class_names``, the labels themselves are the class names.

    Args:
      path: the file.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if the file is damaged, unpacks to far more than its size, or has arrays that do
        not fit together; the message has the file, the array and the expected form.
    """
    try:
        arrays = _read_arrays(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    try:
        data, offsets = arrays['data'], arrays['offsets']
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError(f'data is {_describe(data)}, expected bytes: uint8 of shape (B,)')
        names = _texts('names', arrays['names'])
        labels, class_names = _classes(arrays['labels'], arrays.get('class_names'))
        _check_offsets(offsets, len(data), len(labels), len(names))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    digests = [
        # The bytes of the photos are hashed without a copy.
        (key, hashlib.sha256(array.data if array is data else array.tobytes()).hexdigest())
        for key, array in sorted(arrays.items())
    ]
    return PackedPhotos(
        data, offsets.astype(np.int64), labels, names, class_names, fingerprint=repr(digests)
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of the file; no more bytes are unpacked than their headers say."""
    limit = max(SMALL, MAX_EXPANSION * path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix('.npy'): info for info in archive.infolist()}
        missing = set(_REQUIRED) - members.keys()
        if missing:
            raise ValueError(
                f'{path} has no {", ".join(sorted(missing))}: it is not a file of packed photos'
            )
        wanted = [key for key in (*_REQUIRED, *_OPTIONAL) if key in members]
        size = sum(members[key].file_size for key in wanted)
        if size > limit:
            raise ValueError(
                f'{path} unpacks to {size:,} bytes, more than the limit of {limit:,}: encoded '
                f'photos do not compress, so it is not a file of packed photos'
            )
        arrays = {}
        for key in wanted:
            with archive.open(members[key]) as file:
                try:
                    arrays[key] = _read_array(file, members[key].file_size)
                except ValueError as error:
                    raise ValueError(f'{path}: {key}: {error}') from error
    return arrays


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    """Reads an array from a member of ``size`` bytes, to which its header must fit."""
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in read_header:
        raise ValueError(f'version {version} of the NumPy format is unknown')
    shape, by_columns, dtype = read_header[version](file)
    if dtype.hasobject:
        raise ValueError('it has Python objects, which only pickle can read: store numbers or text')
    if by_columns and len(shape) > 1:
        raise ValueError(f'it has shape {shape} in Fortran order, expected one dimension')
    # Python integers do not overflow as NumPy's would.
    count = math.prod(shape)
    if file.tell() + count * dtype.itemsize != size:
        raise ValueError(
            f'it has {size:,} bytes, which do not fit {dtype} of shape {shape}: it is damaged'
        )
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError('it is truncated')
    return np.frombuffer(content, dtype).reshape(shape) if content else np.zeros(shape, dtype)


def _describe(array: np.ndarray) -> str:
    return f'{array.dtype} of shape {array.shape}'


def _texts(key: str, values: np.ndarray) -> list[str]:
    """Returns names as text; integers are accepted as names."""
    if values.ndim != 1 or values.dtype.kind not in 'SUiu':
        raise ValueError(f'{key} is {_describe(values)}, expected text of shape (N,)')
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    except UnicodeDecodeError as error:
        raise ValueError(f'{key} is not UTF-8 text: {error}') from error


def _classes(labels: np.ndarray, names: np.ndarray | None) -> tuple[np.ndarray, list[str]]:
    """Returns labels (N,) int64, and the name of each class."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f'labels is {_describe(labels)}, expected one label per photo: shape (N,)')
    class_names = None if names is None else _texts('class_names', names)
    if class_names is not None and len(set(class_names)) != len(class_names):
        raise ValueError('class_names has a name twice: give each class its own name')
    if labels.dtype.kind in 'SU':
        texts = _texts('labels', labels)
        class_names = sorted(set(texts)) if class_names is None else class_names
        number_of = {name: number for number, name in enumerate(class_names)}
        unknown = set(texts) - number_of.keys()
        if unknown:
            raise ValueError(f'labels has {min(unknown)!r}, which is not in class_names')
        return np.array([number_of[text] for text in texts], np.int64), class_names
    labels = _whole_numbers(labels)
    last = int(labels.max())
    if class_names is None:
        class_names = [str(number) for number in range(last + 1)]
    if last >= len(class_names):
        raise ValueError(
            f'labels has label {last}, expected at most {len(class_names) - 1}, the last of '
            f'class_names'
        )
    return labels, class_names


def _whole_numbers(labels: np.ndarray) -> np.ndarray:
    """Returns labels (N,) as int64, and raises ValueError if a value would change."""
    if labels.dtype.kind not in 'biuf':
        raise ValueError(f'labels is {_describe(labels)}, expected integers or names')
    if labels.dtype.kind == 'f':
        labels = labels.astype(np.float64)  # float16 cannot represent the largest class.
    wrong = (labels < 0) | (labels >= MAX_CLASSES)
    if labels.dtype.kind == 'f':
        # NaN is not equal to itself.
        wrong |= labels != np.floor(labels)
    if wrong.any():
        raise ValueError(
            f'labels has {labels[wrong.argmax()]!s} at index {wrong.argmax()}, expected integers '
            f'from 0 to {MAX_CLASSES - 1:,}'
        )
    return labels.astype(np.int64)


def _check_offsets(offsets: np.ndarray, size: int, count: int, names: int) -> None:
    if offsets.dtype.kind not in 'iu' or offsets.ndim != 1:
        raise ValueError(f'offsets is {_describe(offsets)}, expected integers of shape (N + 1,)')
    # Compared instead of subtracted: differences of unsigned integers are never below zero.
    divides = (
        len(offsets) == count + 1
        and names == count
        and offsets[0] >= 0
        and bool((offsets[1:] >= offsets[:-1]).all())
        and offsets[-1] <= size
    )
    if not divides:
        raise ValueError(
            f'{len(offsets)} offsets do not divide the {size:,} bytes of data into {count} photos '
            f'with {names} names'
        )
    largest = int(np.diff(offsets).max())
    if largest > MAX_IMAGE_BYTES:
        raise ValueError(f'a photo has {largest:,} bytes, more than {MAX_IMAGE_BYTES:,}')
