"""Storage of classifiers in files of arrays and JSON, which cannot execute code.

A file is an uncompressed ``.npz``, so it cannot unpack to more than its size. It may come from an
untrusted source, so reading validates all of its content.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from snnjax.dart.bag_of_words import Codebook
from snnjax.dart.classifier import DartClassifier
from snnjax.dart.models import Forest, LinearModel
from snnjax.dart.options import DartError, DartOptions

_FORMAT = 'snnjax DART 1'
MAX_FILE_BYTES = 2**32
"""The largest file that is read."""


def to_bytes(classifier: DartClassifier) -> bytes:
    """Serializes a classifier to the content of a file."""
    about = {
        'format': _FORMAT,
        'options': dataclasses.asdict(classifier.options),
        'class_names': classifier.class_names,
        'shape': classifier.shape,
    }
    codebook = classifier.codebook
    arrays = {'words': codebook.words, 'mean': codebook.mean, 'axes': codebook.axes}
    arrays |= {f'model/{name}': array for name, array in classifier.model.arrays().items()}
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(stream, about=text, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def load_classifier(path: Path) -> DartClassifier:
    """Reads a classifier from a file that `to_bytes` made.

    Args:
      path: the file.

    Raises:
      DartError: if the file is damaged or has no classifier; the message names the file.
      OSError: if the file cannot be read.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DartError(f'{path} has more than {MAX_FILE_BYTES:,} bytes')
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError('it is compressed')
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError('its members claim more bytes than the file has')
        with np.load(path, allow_pickle=False) as file:
            return _build({name: np.asarray(file[name]) for name in file.files})
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise DartError(
            f'{path} is not a classifier that snnjax.tools.dart has written: {error}'
        ) from error


def _build(arrays: dict[str, np.ndarray]) -> DartClassifier:
    about = json.loads(arrays['about'].tobytes())
    match about:
        case {
            'format': str(name),
            'options': dict(options),
            'class_names': [*class_names],
            'shape': [int(height), int(width)],
        }:
            pass
        case _:
            raise ValueError('its description cannot be read')
    if name != _FORMAT:
        raise ValueError(f'its format is {name!r}, expected {_FORMAT!r}')
    if not class_names or not all(type(name) is str for name in class_names):
        raise ValueError('its class names are missing or not text')
    options['levels'] = tuple(options['levels'])
    settings = DartOptions(**options)
    length, size = settings.rings * settings.wedges, settings.pca
    codebook = Codebook(
        _take(arrays, 'words', np.float32, (settings.words, size or length)),
        _take(arrays, 'mean', np.float32, (length if size else 0,)),
        _take(arrays, 'axes', np.float32, (size, length if size else 0)),
    )
    columns, classes = settings.cells * settings.words, len(class_names)
    model: LinearModel | Forest
    if settings.model == 'svm':
        weights = _take(arrays, 'model/weights', np.float32, (classes, 3 * columns))
        bias = _take(arrays, 'model/bias', np.float32, (classes,))
        model = LinearModel(weights, bias, settings.gamma)
    else:
        model = _build_forest(arrays, columns, classes, settings.trees)
    return DartClassifier(settings, tuple(class_names), (height, width), codebook, model)


def _build_forest(arrays: dict[str, np.ndarray], columns: int, classes: int, trees: int) -> Forest:
    nodes = len(arrays['model/feature'])
    feature = _take(arrays, 'model/feature', np.int32, (nodes,))
    left = _take(arrays, 'model/left', np.int32, (nodes,))
    right = _take(arrays, 'model/right', np.int32, (nodes,))
    roots = _take(arrays, 'model/roots', np.int32, (trees,))
    inner = np.flatnonzero(feature >= 0)
    # Children must come after their parent, so that every path through a tree ends.
    sound = (
        feature.max(initial=-1) < columns
        and roots.min() >= 0
        and roots.max() < nodes
        and all(np.all((way[inner] > inner) & (way[inner] < nodes)) for way in (left, right))
    )
    if not sound:
        raise ValueError('its trees have invalid nodes')
    return Forest(
        feature,
        _take(arrays, 'model/threshold', np.float64, (nodes,)),
        left,
        right,
        _take(arrays, 'model/shares', np.float32, (nodes, classes)),
        roots,
    )


def _take(
    arrays: dict[str, np.ndarray], name: str, dtype: Any, shape: tuple[int, ...]
) -> np.ndarray:
    array = arrays[name]
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f'{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}'
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f'{name} has values that are not finite')
    return array
