"""The metadata of a prepared data set, read as data and never as code.

TFDS imports the module of every class that ``features.json`` names, so a data set from an untrusted
source could run code. This module accepts only files as `snnjax.data.records.write` makes them. It
builds the features from a fixed table and imports nothing that a file names.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from snnjax.errors import UserError

MAX_METADATA_BYTES = 2**24
"""The largest metadata file that is read; those of ImageNet have 40 kB."""

MAX_EXAMPLE_BYTES = 2**28
MAX_COLUMN_BYTES = 2**30
"""The largest decompressed size of a column: the times of 268 million events."""

MAX_CLASSES = 2**20
_DTYPES = ('uint8', 'uint16', 'int32')
_ENCODINGS = {
    'none': tfds.features.Encoding.NONE,
    'bytes': tfds.features.Encoding.BYTES,
    'zlib': tfds.features.Encoding.ZLIB,
}


class PreparedDataError(UserError, ValueError):
    """Prepared data that is damaged, or that this package did not write; the message says why."""


@dataclasses.dataclass(frozen=True)
class Info:
    """The metadata of a prepared data set.

    Attributes:
      name: the name of the data set in the names of its files.
      features: the features of an example.
      metadata: the further metadata that readers need, as in `snnjax.data.records.Plan`.
      shard_lengths: the number of examples in each file, by split.
    """

    name: str
    features: tfds.features.FeaturesDict
    metadata: dict[str, Any]
    shard_lengths: dict[str, list[int]]

    def shards(self, split: str) -> dict[str, int]:
        """Returns the number of examples in each file of a split, by file name."""
        lengths = self.shard_lengths[split]
        return dict(zip(shard_names(self.name, split, len(lengths)), lengths, strict=True))


def read_info(folder: Path) -> Info:
    """Reads the metadata of a prepared data set, without importing or calling anything in it.

    Args:
      folder: the folder of the version, with ``dataset_info.json`` and ``features.json``.

    Raises:
      PreparedDataError: if the metadata is damaged, too large, or not as
        `snnjax.data.records.write` makes it.
    """
    features = tfds.features.FeaturesDict(
        _read_features(folder / 'features.json', _read_json(folder / 'features.json'))
    )
    for name, feature in features.items():
        if isinstance(feature, tfds.features.ClassLabel):
            _read_names(folder / f'{name}.labels.txt', feature)
    path = folder / 'metadata.json'
    metadata = _read_json(path) if path.exists() else {}
    if not isinstance(metadata, dict):
        raise PreparedDataError(f'{path} is not a JSON object: {_ADVICE}')
    path = folder / 'dataset_info.json'
    match _read_json(path):
        case {'name': str(name), 'splits': list(splits)} if name.isidentifier():
            return Info(name, features, metadata, _read_shard_lengths(path, splits))
    raise PreparedDataError(f'{path} does not have the name and the splits: {_ADVICE}')


_ADVICE = 'remove the data set and prepare it again, or get it from a source that you trust'


def _read_text(path: Path) -> str:
    try:
        # Reading a pipe or a device might never end.
        if not path.is_file():
            raise PreparedDataError(f'{path} is missing or is not a file: {_ADVICE}')
        with path.open('rb') as file:
            content = file.read(MAX_METADATA_BYTES + 1)
        if len(content) > MAX_METADATA_BYTES:
            raise PreparedDataError(f'{path} has more than {MAX_METADATA_BYTES:,} bytes: {_ADVICE}')
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PreparedDataError(f'{path} cannot be read: {error}') from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise PreparedDataError(f'{path} is not JSON ({error}): {_ADVICE}') from error
    except PreparedDataError:
        raise
    except ValueError as error:  # Raised for an integer with thousands of digits.
        raise PreparedDataError(f'{path} cannot be read ({error}): {_ADVICE}') from error


def _read_features(path: Path, value: Any) -> dict[str, Any]:
    match value:
        case {
            'pythonClassName': 'tensorflow_datasets.core.features.features_dict.FeaturesDict',
            'featuresDict': {'features': dict(described), **inner},
            **rest,
        } if described and not inner and not rest:
            pass
        case _:
            raise PreparedDataError(f'{path} does not describe a FeaturesDict: {_ADVICE}')
    features = {}
    for name, feature in described.items():
        # File names contain the names of features.
        if not name.isidentifier():
            raise PreparedDataError(
                f'{path} has a feature {name[:50]!r}, which is not an identifier: {_ADVICE}'
            )
        built = _build_feature(feature)
        if built is None:
            raise PreparedDataError(
                f'{path}: {name} is not a feature that snnjax.tools.prepare writes, so it is not '
                f'read: {json.dumps(feature)[:200]}; {_ADVICE}'
            )
        features[name] = built
    return features


def _build_feature(value: Any) -> Any:
    """Returns the described feature, or None if `snnjax.tools.prepare` writes no such feature."""
    match value:
        case {'pythonClassName': str(class_name), **content} if class_name in _BUILDERS:
            key, build = _BUILDERS[class_name]
            described = content.get(key)
            if content.keys() == {key} and isinstance(described, dict):
                return build(described)
    return None


def _build_tensor(value: Mapping[str, Any]) -> Any:
    shape = _shape(value.get('shape'))
    dtype, encoding = value.get('dtype'), value.get('encoding', 'none')
    if value.keys() - {'shape', 'dtype', 'encoding'} or shape is None:
        return None
    # A value of another type may not be hashable.
    if not (isinstance(encoding, str) and encoding in _ENCODINGS and dtype in _DTYPES):
        return None
    if (encoding == 'zlib') != (shape == (None,)):
        return None
    if (
        None in shape[1:]
        or math.prod(size or 1 for size in shape) * np.dtype(dtype).itemsize > MAX_EXAMPLE_BYTES
    ):
        return None
    return tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype), encoding=_ENCODINGS[encoding])


def _build_image(value: Mapping[str, Any]) -> Any:
    if value.keys() - {'shape', 'dtype'} or value.get('dtype', 'uint8') != 'uint8':
        return None
    shape = _shape(value.get('shape'))
    return tfds.features.Image(shape=shape) if shape == (None, None, 3) else None


def _build_label(value: Mapping[str, Any]) -> Any:
    count = _integer(value.get('numClasses'))
    if value.keys() != {'numClasses'} or count is None or not 1 <= count <= MAX_CLASSES:
        return None
    return tfds.features.ClassLabel(num_classes=count)


def _build_text(value: Mapping[str, Any]) -> Any:
    return None if value else tfds.features.Text()


_BUILDERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    f'tensorflow_datasets.core.features.{name}': (key, build)
    for name, key, build in (
        ('tensor_feature.Tensor', 'tensor', _build_tensor),
        ('image_feature.Image', 'image', _build_image),
        ('class_label_feature.ClassLabel', 'classLabel', _build_label),
        ('text_feature.Text', 'text', _build_text),
    )
}
"""The key and the builder of each allowed feature, by the class name in ``features.json``."""


def _integer(value: Any) -> int | None:
    """Returns an integer from protocol-buffer JSON (digits in quotes, or a number), or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) < 20 and value.removeprefix('-').isdecimal():
        return int(value)
    return None


def _integers(values: Any) -> list[int] | None:
    """Returns the integers of a list, or None if one of its entries is not an integer."""
    if not isinstance(values, list):
        return None
    integers = [_integer(value) for value in values]
    return None if None in integers else [value for value in integers if value is not None]


def _shape(value: Any) -> tuple[int | None, ...] | None:
    if not isinstance(value, dict) or value.keys() != {'dimensions'}:
        return None
    sizes = _integers(value['dimensions'])
    if sizes is None or not 1 <= len(sizes) <= 4 or any(s < 1 and s != -1 for s in sizes):
        return None
    return tuple(None if size == -1 else size for size in sizes)


def _read_names(path: Path, label: Any) -> None:
    """Sets the class names of a label feature, if a file of them exists."""
    if not path.exists():
        return
    names = [name.strip() for name in _read_text(path).split('\n') if name.strip()]
    try:
        label.names = names
    except ValueError as error:
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PreparedDataError(f'{path} has {twice!r} more than once: {_ADVICE}') from error
        raise PreparedDataError(
            f'{path} has {len(names)} names for {label.num_classes} classes: {_ADVICE}'
        ) from error


def _read_shard_lengths(path: Path, splits: Sequence[Any]) -> dict[str, list[int]]:
    lengths: dict[str, list[int]] = {}
    for split in splits:
        match split:
            case {'name': 'train' | 'test' | 'undivided' as name, 'shardLengths': numbers}:
                found = _integers(numbers)
                if found and name not in lengths and min(found) >= 1:
                    lengths[name] = found
                    continue
        raise PreparedDataError(
            f'{path} has an invalid split: {json.dumps(split)[:200]}; {_ADVICE}'
        )
    if lengths.keys() not in ({'train', 'test'}, {'undivided'}):
        raise PreparedDataError(
            f'{path} has splits {sorted(lengths)}, expected train and test, or undivided: {_ADVICE}'
        )
    return lengths


def shard_names(name: str, split: str, count: int) -> Sequence[str]:
    """Returns the file names of a split of ``count`` files, as TFDS writes them."""
    return [f'{name}-{split}.array_record-{i:05}-of-{count:05}' for i in range(count)]


def is_column(feature: Any) -> bool:
    """Returns true if a feature is a column of events, which records store compressed."""
    return isinstance(feature, tfds.features.Tensor) and feature.shape == (None,)


def inflate(content: bytes, dtype: Any) -> np.ndarray:
    """Decompresses a column of a record.

    Args:
      content: the compressed bytes.
      dtype: the dtype of the column.

    Returns:
      An array of shape (N,) and of ``dtype``.

    Raises:
      PreparedDataError: if the column is damaged, or has more than `MAX_COLUMN_BYTES` bytes.
    """
    stream = zlib.decompressobj()
    try:
        column = stream.decompress(content, MAX_COLUMN_BYTES)
        if not stream.eof:
            raise PreparedDataError(
                f'a column is truncated or has more than {MAX_COLUMN_BYTES:,} bytes'
            )
        return np.frombuffer(column, dtype)
    except (zlib.error, ValueError) as error:
        raise PreparedDataError(f'a column of a record cannot be read: {error}') from error
