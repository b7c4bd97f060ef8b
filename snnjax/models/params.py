"""The grammar of parameter names, which nothing else in this package knows.

A name is a place in the tree of variables, as ``params/stage1/block2/conv1/conv/kernel``.

The variables of a stage's repeated blocks are one tree a block, or one tree of stacked arrays. A
network that scans its layers has, in each stage of more than two blocks, ``block1`` and
``repeated``: all other blocks, stacked along a leading axis. One that does not has ``block1``,
``block2`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from snnjax.spelling import natural_order


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


COLLECTIONS = ('params', 'batch_stats')
"""What training changes of a network; one without normalization has an empty ``batch_stats``."""


def trained_part(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters and running statistics of variables."""
    return {key: variables.get(key, {}) for key in COLLECTIONS}


CLASSIFIER = 'params/classifier/'


def by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of variables by their place, as ``params/stem/conv/kernel``."""
    return {place(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables from their arrays by name, the inverse of `by_name`."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split('/')
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = array
    return tree


def block_of(name: str) -> str:
    """The block, or else the layer, of an array: ``stage1/block2/conv1/conv/kernel`` is of
    ``stage1/block2``, ``stem/conv/kernel`` of ``stem``.
    """
    first, second, *_ = name.split('/')
    return f'{first}/{second}' if is_in_stage(name) else first


def layer_of(name: str) -> str:
    """Returns the layer of an array: ``stage1/block2/conv1/conv/kernel`` is of
    ``stage1/block2/conv1``.
    """
    return re.sub(r'/(conv|norm)/\w+$|/\w+$', '', name)


def is_in_stage(name: str) -> bool:
    """Tells if a layer or an array is part of a stage's block."""
    return name.startswith('stage')


def is_kernel(name: str) -> bool:
    """Tells if an array is that of a convolution or a fully connected layer, without the bias."""
    return name.rpartition('/')[2] == 'kernel'


_LAYER = re.compile(r'(?P<dense>dense_)?(?P<role>[a-z]+)(?P<number>\d*)')


_PARTS = {'stem': -1, 'dense': 1, 'classifier': 2}


_ROLES = ('conv', 'dense', 'norm', 'attention', 'spike')


def forward_order(layer: str) -> tuple[Any, ...]:
    """Sorts blocks or layers as they run: the stem, the tenth block behind the second, what is
    fully connected, the classifier; of what has one number, neurons last.
    """
    match = _LAYER.match(layer)
    if match is None:
        return 0, 0, 0, natural_order(layer)
    role = match['role']
    part = _PARTS.get('dense' if match['dense'] else role, 0)
    rank = _ROLES.index(role) if role in _ROLES else 0
    return part, int(match['number'] or 0), rank, natural_order(layer)


def place(path: Any) -> str:
    """Returns a path of `jax.tree_util` as a name."""
    return jax.tree_util.keystr(path, simple=True, separator='/')
