"""Weights by PyTorch's names and in PyTorch's layouts.

Two schemes of names are known. 'snnjax' is this package's own paths in PyTorch's manner, for every
network here. 'authors' is that of the checkpoints which the paper's authors have published for
ImageNet; they were trained with ``strict=True``.

============================  ===========================  =====================================
path here                     'snnjax'                     'authors'
============================  ===========================  =====================================
stem/conv/kernel              stem.conv.weight             conv1.0.weight
stem/norm/scale               stem.bn.weight               conv1.1.bn.weight
stem/conv2/bias (of three)    stem.conv2.bias              conv1.1.bias
stage2/block1/conv1/conv/...  blocks.K.c1.conv.weight      conv3_x.0.residual_function.1.weight
stage2/block1/conv2/norm/...  blocks.K.c2.bn.weight        conv3_x.0.residual_function.5.bn.weight
stage2/block1/shortcut/...    blocks.K.sc.conv.weight      conv3_x.0.shortcut.0.weight
classifier/kernel             fc.weight                    fc.weight
============================  ===========================  =====================================

K counts the blocks of all stages. With pooling in the shortcut its convolution has number 1.
Convolutions are (out, in, height, width) there, the classifier (out, in).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from snnjax.models.network import Network
from snnjax.models.stacking import stack_layers, unstack_layers

Path = tuple[str, ...]
Scheme = Literal['snnjax', 'authors']

_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'mean': 'running_mean',
    'var': 'running_var',
}
_OUR_MODULES = {'conv1': 'c1', 'conv2': 'c2', 'shortcut': 'sc', 'norm': 'bn', 'classifier': 'fc'}


def from_state_dict(model: Network, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of ``model`` from arrays by PyTorch name, in either scheme.

    A prefix ``module.`` of all names is taken off, and ``num_batches_tracked``, which nothing here
    uses, is left out.

    Args:
      model: the network to load into.
      state_dict: arrays by name; anything `numpy.asarray` takes. Dtypes are kept.

    Returns:
      ``{'params': ..., 'batch_stats': ...}``, stacked where the model scans its layers.

    Raises:
      ValueError: where an array is missing, left over or of another shape; the message names all.
    """
    arrays = {
        name.removeprefix('module.'): np.asarray(value)
        for name, value in state_dict.items()
        if not name.endswith('.num_batches_tracked')
    }
    scheme = scheme_of(arrays)
    shapes = _variable_shapes(model)
    names = {torch_name(model, path, scheme): path for path in shapes}
    problems = [f'missing: {name}' for name in sorted(names.keys() - arrays.keys())]
    problems += [f'unexpected: {name}' for name in sorted(arrays.keys() - names.keys())]
    flat = {}
    for name, path in names.items():
        if name in arrays:
            flat[path] = _from_torch_layout(arrays[name])
            if flat[path].shape != shapes[path]:
                problems.append(
                    f'{name}: shape {arrays[name].shape}, expected {_to_torch_shape(shapes[path])}'
                )
    if problems:
        raise ValueError('the weights do not fit the model:\n  ' + '\n  '.join(problems))
    variables = jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(flat))
    return stack_layers(variables) if model.scans_layers else variables


def scheme_of(state_dict: Mapping[str, Any]) -> Scheme:
    """Whose names these are; the authors' stem is ``conv1``."""
    names = (name.removeprefix('module.') for name in state_dict)
    return 'authors' if any(name.startswith('conv1.') for name in names) else 'snnjax'


def to_state_dict(
    model: Network, variables: Mapping[str, Any], scheme: Scheme = 'snnjax'
) -> dict[str, np.ndarray]:
    """The inverse of `from_state_dict`: NumPy arrays by PyTorch name.

    Raises:
      ValueError: for a network that the authors' scheme has no names for.
    """
    kept = {key: variables[key] for key in ('params', 'batch_stats')}
    flat = traverse_util.flatten_dict(unstack_layers(kept))
    return {
        torch_name(model, path, scheme): _to_torch_layout(np.asarray(leaf))
        for path, leaf in flat.items()
    }


def torch_name(model: Network, path: Path, scheme: Scheme = 'snnjax') -> str:
    """``('params', 'stem', 'conv', 'kernel')`` -> 'stem.conv.weight' or 'conv1.0.weight'."""
    _, *modules, leaf = path
    if scheme == 'authors':
        modules = _authors_modules(model, tuple(modules))
    else:
        modules = _our_modules(model, tuple(modules))
    return '.'.join([*modules, _LEAVES.get(leaf, leaf)])


def _our_modules(model: Network, modules: Path) -> list[str]:
    if not modules[0].startswith('stage'):
        # The convolutions of a stem of three keep their names.
        return [_OUR_MODULES[m] if m in ('norm', 'classifier') else m for m in modules]
    stage, block = _place(modules)
    number = sum(model.blocks[: stage - 1]) + block - 1
    return ['blocks', str(number), *(_OUR_MODULES.get(m, m) for m in modules[2:])]


def _authors_modules(model: Network, modules: Path) -> list[str]:
    if model.kind != 'ms' or len(model.blocks) != 4 or model.spiking_shortcut:
        raise ValueError("the authors' names are those of their ImageNet MS-ResNets only")
    if modules == ('classifier',):
        return ['fc']
    if modules[0] == 'stem':
        # Numbers within a sequence of one or three convolutions and the normalisation.
        order = {'conv': 0, 'conv1': 0, 'conv2': 1, 'conv3': 2}
        if modules[1] == 'norm':
            return ['conv1', '3' if model.stem == 'conv3x3x3' else '1', 'bn']
        return ['conv1', str(order[modules[1]])]
    if not modules[0].startswith('stage'):
        raise ValueError("the authors' scheme has no names for learnable neurons")
    stage, block = _place(modules)
    place = [f'conv{stage + 1}_x', str(block - 1)]
    # The residual path is neurons, convolution, normalisation, twice.
    number = {'conv1': 1, 'conv2': 4, 'shortcut': int(model.avgpool_shortcut)}.get(modules[2])
    if number is None:
        raise ValueError("the authors' scheme has no names for learnable neurons")
    path = 'shortcut' if modules[2] == 'shortcut' else 'residual_function'
    if modules[3] == 'norm':
        return [*place, path, str(number + 1), 'bn']
    return [*place, path, str(number)]


def _place(modules: Path) -> tuple[int, int]:
    """('stage2', 'block1', ...) -> (2, 1)."""
    return int(modules[0].removeprefix('stage')), int(modules[1].removeprefix('block'))


def _variable_shapes(model: Network) -> dict[Path, tuple[int, ...]]:
    """Shapes of the model's variables by path, not stacked."""
    model = model.clone(scan_layers=False, num_steps=None)
    image = jax.ShapeDtypeStruct((1, 64, 64, model.in_channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    flat = traverse_util.flatten_dict(variables)
    return {path: leaf.shape for path, leaf in flat.items()}


def _from_torch_layout(array: np.ndarray) -> np.ndarray:
    """Convolution OIHW -> HWIO, matrix (out, in) -> (in, out)."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def _to_torch_layout(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1).copy()
    return array.T.copy()


def _to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    return shape[::-1]
