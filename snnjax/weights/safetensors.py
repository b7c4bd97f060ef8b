"""Variables as safetensors files, which hold named arrays and no executable code.

A file begins with the length of its header: 8 bytes, little-endian. The header is JSON and gives
the dtype, the shape and the offsets of each array in the rest of the file. Files may come from
untrusted sources, so the header is checked before any array is allocated.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from snnjax.models.params import COLLECTIONS, by_name, nested, trained_part, unstack_layers

ITEM_BYTES = {'F16': 2, 'F32': 4, 'F64': 8}
"""Item sizes in bytes of the dtypes that a file may have."""

MAX_HEADER_BYTES = 2**24
"""The largest header in bytes: sixty times that of the paper's deepest network, 482 layers."""


def write_safetensors(
    path: Path, variables: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Writes variables as float32, with names such as ``params/stem/conv/kernel``.

    Args:
      path: the path of the file.
      variables: the variables ``{'params': ..., 'batch_stats': ...}``; repeated layers may be
        stacked.
      metadata: the text entries of the header.
    """
    kept = unstack_layers(trained_part(variables))
    arrays = {
        name: np.asarray(leaf, np.float32, order='C')
        for name, leaf in by_name(jax.device_get(kept)).items()
    }
    path.write_bytes(safetensors.numpy.save(arrays, dict(metadata)))


def read_safetensors(path: Path) -> dict[str, Any]:
    """Reads the variables in a file of `write_safetensors`, or one of the same form.

    Returns:
      The variables ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays, repeated layers not
      stacked.

    Raises:
      ValueError: if the file is damaged or holds something else; the message names the file.
    """
    content = path.read_bytes()
    try:
        _check(content)
        arrays = safetensors.numpy.load(content)
    except (ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f'{path} cannot be read as variables: {error}') from error
    return trained_part(nested(arrays))


def _check(content: bytes) -> None:
    """Raises ValueError if the content is not a file of variables."""
    if len(content) < 8:
        raise ValueError(f'it has {len(content)} bytes, too few for a header')
    length = int.from_bytes(content[:8], 'little')
    room = len(content) - 8
    if length > min(room, MAX_HEADER_BYTES):
        raise ValueError(
            f'its header should have {length:,} bytes, but only {room:,} follow, and at most '
            f'{MAX_HEADER_BYTES:,} are allowed'
        )
    header = _parse_header(content[8 : 8 + length])
    header.pop('__metadata__', None)
    paths = sorted(tuple(name.split('/')) for name in header)
    if not {'params'} <= {path[0] for path in paths} <= set(COLLECTIONS):
        raise ValueError(f'its arrays are not those of {" and ".join(COLLECTIONS)}')
    for path, following in itertools.pairwise(paths):
        if following[: len(path)] == path:
            raise ValueError(f'{"/".join(path)!r} is both an array and a group of arrays')
    for name, entry in header.items():
        _check_array(name, entry, room - length)


def _parse_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'its header is not JSON: {error}') from error
    if not isinstance(header, dict):
        raise ValueError('its header is not a JSON object')
    return header


def _check_array(name: str, entry: Any, size: int) -> None:
    match entry:
        case {'dtype': str(dtype), 'shape': [*shape], 'data_offsets': [int(begin), int(end)]} if (
            all(isinstance(length, int) and length >= 0 for length in shape)
        ):
            pass
        case _:
            raise ValueError(f'{name!r} is not an array with dtype, shape and data_offsets')
    if dtype not in ITEM_BYTES:
        raise ValueError(f'{name!r} has dtype {dtype}, expected one of {", ".join(ITEM_BYTES)}')
    if not 0 <= begin <= end <= size:
        raise ValueError(f'{name!r} has the offsets {begin} to {end} in {size:,} bytes of arrays')
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f'{name!r} has {end - begin:,} bytes, not those of {dtype} {shape}')
