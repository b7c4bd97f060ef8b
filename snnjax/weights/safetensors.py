"""Variables as a file of safetensors: arrays by name, and nothing that can be executed.

A file begins with the length of its header, 8 bytes, little-endian; the header is JSON, and has for
each array its dtype, its shape, and where it lies in the rest. Files may come from anywhere, so all
of that is checked before an array is made.
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
"""Sizes of the dtypes that variables may have in a file."""

MAX_HEADER_BYTES = 2**24
"""Sixty times the header of the paper's deepest network, 482 layers."""


def write_safetensors(
    path: Path, variables: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Writes variables as float32, by names such as ``params/stem/conv/kernel``.

    Args:
      path: path of the file.
      variables: ``{'params': ..., 'batch_stats': ...}``, in either form of repeated layers.
      metadata: goes into the header.
    """
    kept = unstack_layers(trained_part(variables))
    arrays = {
        name: np.asarray(leaf, np.float32, order='C')
        for name, leaf in by_name(jax.device_get(kept)).items()
    }
    path.write_bytes(safetensors.numpy.save(arrays, dict(metadata)))


def read_safetensors(path: Path) -> dict[str, Any]:
    """Variables of a file of `write_safetensors`, or one like it.

    Returns:
      ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays; repeated layers are not stacked.

    Raises:
      ValueError: for a file that is damaged, or holds something else; the message has its name.
    """
    content = path.read_bytes()
    try:
        _check(content)
        arrays = safetensors.numpy.load(content)
    except (ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f'{path} cannot be read as variables: {error}') from error
    return trained_part(nested(arrays))


def _check(content: bytes) -> None:
    """Raises ValueError for what is no file of variables."""
    if len(content) < 8:
        raise ValueError(f'it has {len(content)} bytes, too few for a header')
    length = int.from_bytes(content[:8], 'little')
    room = len(content) - 8
    if length > min(room, MAX_HEADER_BYTES):
        raise ValueError(
            f'its header should have {length:,} bytes; at most {MAX_HEADER_BYTES:,} of the '
            f'{room:,} that follow may be one'
        )
    header = _parse_header(content[8 : 8 + length])
    header.pop('__metadata__', None)
    paths = sorted(tuple(name.split('/')) for name in header)
    if not {'params'} <= {path[0] for path in paths} <= set(COLLECTIONS):
        raise ValueError(f'its arrays are not those of {" and ".join(COLLECTIONS)}')
    for path, following in itertools.pairwise(paths):
        if following[: len(path)] == path:
            raise ValueError(f'{"/".join(path)!r} is an array, and has arrays in it')
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
            raise ValueError(f'{name!r} is no array with dtype, shape and data_offsets')
    if dtype not in ITEM_BYTES:
        raise ValueError(f'{name!r} has dtype {dtype}, expected one of {", ".join(ITEM_BYTES)}')
    if not 0 <= begin <= end <= size:
        raise ValueError(f'{name!r} lies at {begin} to {end} of {size:,} bytes of arrays')
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f'{name!r} has {end - begin:,} bytes, not those of {dtype} {shape}')
