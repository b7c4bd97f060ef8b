"""The structure of parameter names, on which no other module of this package depends.

A name is a path in the tree of variables, such as ``params/stage1/block2/conv1/conv/kernel``.

The variables of a stage's repeated blocks are one tree per block, or one tree of stacked arrays. A
network that scans its layers has ``block1`` and ``repeated`` in each stage of more than two blocks;
``repeated`` stacks all other blocks along a leading axis. A network that does not scan has
``block1``, ``block2`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from snnjax.spelling import natural_order


def stack_layers(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Converts variables, or a part of them, to ``scan_layers=True``; copies their arrays."""
    out = {key: _recurse(stack_layers, value) for key, value in tree.items()}
    count = sum(key.removeprefix('block').isdigit() for key in out)
    if count > 2:
        blocks = [out.pop(f'block{i}') for i in range(2, count + 1)]
        out['repeated'] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    return out


def unstack_layers(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Converts variables, or a part of them, to ``scan_layers=False``."""
    out = {key: _recurse(unstack_layers, value) for key, value in tree.items()}
    if 'repeated' in out:
        repeated = out.pop('repeated')
        for i in range(jax.tree.leaves(repeated)[0].shape[0]):
            out[f'block{i + 2}'] = jax.tree.map(lambda leaf, i=i: leaf[i], repeated)
    return out


def _recurse(convert: Any, value: Any) -> Any:
    return convert(value) if isinstance(value, Mapping) else value


COLLECTIONS = ('params', 'batch_stats')
"""The collections that training changes; without normalization ``batch_stats`` is empty."""


def trained_part(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters and running statistics of variables."""
    return {key: variables.get(key, {}) for key in COLLECTIONS}


CLASSIFIER = 'params/classifier/'


def by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of variables by name, such as ``params/stem/conv/kernel``."""
    return {place(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables from their arrays by name; the inverse of `by_name`."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split('/')
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = array
    return tree


def block_of(name: str) -> str:
    """Returns the block of an array, or its layer if it is in no block.

    ``stage1/block2/conv1/conv/kernel`` is in ``stage1/block2``, and ``stem/conv/kernel`` in
    ``stem``.
    """
    first, second, *_ = name.split('/')
    return f'{first}/{second}' if is_in_stage(name) else first


def layer_of(name: str) -> str:
    """Returns the layer of an array.

    ``stage1/block2/conv1/conv/kernel`` is in ``stage1/block2/conv1``.
    """
    return re.sub(r'/(conv|norm)/\w+$|/\w+$', '', name)


def is_in_stage(name: str) -> bool:
    """Returns True if a layer or an array is in a block of a stage."""
    return name.startswith('stage')


def is_kernel(name: str) -> bool:
    """Returns True if an array is the kernel of a convolution or a fully connected layer."""
    return name.rpartition('/')[2] == 'kernel'


_LAYER = re.compile(r'(?P<dense>dense_)?(?P<role>[a-z]+)(?P<number>\d*)')


_PARTS = {'stem': -1, 'dense': 1, 'classifier': 2}


_ROLES = ('conv', 'dense', 'norm', 'attention', 'spike')


def forward_order(layer: str) -> tuple[Any, ...]:
    """Returns a sort key that puts blocks or layers in the order in which they run.

    The stem comes first, then blocks (the second before the tenth), fully connected layers and the
    classifier. Neurons come last among layers with the same index.
    """
    match = _LAYER.match(layer)
    if match is None:
        return 0, 0, 0, natural_order(layer)
    role = match['role']
    part = _PARTS.get('dense' if match['dense'] else role, 0)
    rank = _ROLES.index(role) if role in _ROLES else 0
    return part, int(match['number'] or 0), rank, natural_order(layer)


def place(path: Any) -> str:
    """Returns the name for a path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator='/')
