"""Weights by PyTorch's names and in PyTorch's layouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from snnjax.models.networks import ResNet

Path = tuple[str, ...]

_UNITS = {'conv1': 'c1', 'conv2': 'c2', 'shortcut': 'sc', 'stem': 'stem'}
_LAYERS = {'conv': 'conv', 'norm': 'bn'}
_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def from_state_dict(model: ResNet, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of ``model`` from arrays by PyTorch name.

    Names are ``stem.conv.weight``, ``stem.bn.{weight,bias,running_mean,running_var}``,
    ``blocks.K.{c1,c2,sc}.{conv,bn}...`` with K counting the blocks of all stages, and
    ``fc.{weight,bias}``. Convolutions are (out, in, height, width), the classifier (out, in).

    Args:
      model: the network to load into.
      state_dict: arrays by name; anything `numpy.asarray` takes. Dtypes are kept.

    Returns:
      ``{'params': ..., 'batch_stats': ...}``.

    Raises:
      ValueError: where an array is missing, left over or of another shape; the message names all.
    """
    shapes = _variable_shapes(model)
    names = {_torch_name(path, model.blocks): path for path in shapes}
    problems = [f'missing: {name}' for name in sorted(names.keys() - state_dict.keys())]
    problems += [f'unexpected: {name}' for name in sorted(state_dict.keys() - names.keys())]
    flat = {}
    for name, path in names.items():
        if name in state_dict:
            flat[path] = _from_torch_layout(np.asarray(state_dict[name]))
            if flat[path].shape != shapes[path]:
                problems.append(
                    f'{name}: shape {np.shape(state_dict[name])}, expected '
                    f'{_to_torch_shape(shapes[path])}'
                )
    if problems:
        raise ValueError('the weights do not fit the model:\n  ' + '\n  '.join(problems))
    return jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(flat))


def _variable_shapes(model: ResNet) -> dict[Path, tuple[int, ...]]:
    """Shapes of the model's variables by path, ``('params', 'stem', 'conv', 'kernel')``."""
    image = jax.ShapeDtypeStruct((1, 32, 32, model.in_channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    flat = traverse_util.flatten_dict(variables)
    return {path: leaf.shape for path, leaf in flat.items()}


def _torch_name(path: Path, blocks: tuple[int, ...]) -> str:
    """('params', 'stage2', 'block1', 'conv1', 'norm', 'scale') -> 'blocks.3.c1.bn.weight'."""
    _, *modules, leaf = path
    if modules == ['classifier']:
        return f'fc.{_LEAVES[leaf]}'
    *place, unit, layer = modules
    name = f'{_UNITS[unit]}.{_LAYERS[layer]}.{_LEAVES[leaf]}'
    if not place:
        return name
    stage, block = int(place[0].removeprefix('stage')), int(place[1].removeprefix('block'))
    return f'blocks.{sum(blocks[: stage - 1]) + block - 1}.{name}'


def _from_torch_layout(array: np.ndarray) -> np.ndarray:
    """Convolution OIHW -> HWIO, matrix (out, in) -> (in, out)."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def _to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    return shape[::-1]
