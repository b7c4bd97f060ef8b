"""Variables of a stage's repeated blocks: one tree a block, or one tree of stacked arrays.

A network that scans its layers has, in each stage of more than two blocks, ``block1`` and
``repeated``: all other blocks, stacked along a leading axis. One that does not has ``block1``,
``block2`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def stack_layers(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Variables, or part of them, in the form of ``scan_layers=True``; arrays are copied."""
    out = {key: _recurse(stack_layers, value) for key, value in tree.items()}
    count = sum(key.removeprefix('block').isdigit() for key in out)
    if count > 2:
        blocks = [out.pop(f'block{i}') for i in range(2, count + 1)]
        out['repeated'] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    return out


def unstack_layers(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Variables, or part of them, in the form of ``scan_layers=False``."""
    out = {key: _recurse(unstack_layers, value) for key, value in tree.items()}
    if 'repeated' in out:
        repeated = out.pop('repeated')
        for i in range(jax.tree.leaves(repeated)[0].shape[0]):
            out[f'block{i + 2}'] = jax.tree.map(lambda leaf, i=i: leaf[i], repeated)
    return out


def _recurse(convert: Any, value: Any) -> Any:
    return convert(value) if isinstance(value, Mapping) else value
