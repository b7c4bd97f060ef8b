"""Weights with PyTorch's names and layouts.

`snnjax.weights.torch_names` has the names. PyTorch convolutions are (out, in, height, width), and
fully connected layers (out, in).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.models.network import Network
from snnjax.models.params import by_name, nested, stack_layers, trained_part, unstack_layers
from snnjax.weights.torch_names import (
    Scheme,
    check_scheme,
    plain_names,
    scheme_of,
    torch_name,
)


def from_state_dict(model: Network, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Converts arrays by PyTorch name, in any scheme, to the variables of ``model``.

    `snnjax.weights.torch_names.plain_names` removes the parts of names that wrappers add, such as
    ``module.``, ``_orig_mod.`` or ``net.``, and the entries that are not weights, such as
    ``num_batches_tracked``.

    Args:
      model: the network that takes the weights.
      state_dict: the arrays by name, of any type that `numpy.asarray` takes. Dtypes are kept.

    Returns:
      The variables ``{'params': ..., 'batch_stats': ...}``, stacked if the model scans its layers.

    Raises:
      ValueError: if an array is missing, unexpected or of another shape (the message lists all), or
        if the scheme has no names for the network.
    """
    arrays = {
        plain: np.asarray(state_dict[name]) for name, plain in plain_names(state_dict).items()
    }
    scheme = scheme_of(arrays)
    check_scheme(model, scheme)
    shapes = _variable_shapes(model, _image_size(model, arrays, scheme))
    names = {torch_name(model, tuple(name.split('/')), scheme): name for name in shapes}
    problems = [f'missing: {name}' for name in sorted(names.keys() - arrays.keys())]
    problems += [f'unexpected: {name}' for name in sorted(arrays.keys() - names.keys())]
    fitted = {}
    for name, ours in names.items():
        if name in arrays:
            fitted[ours] = _from_torch_layout(arrays[name], _channels(model, ours))
            if fitted[ours].shape != shapes[ours]:
                problems.append(
                    f'{name}: shape {arrays[name].shape}, expected {_to_torch_shape(shapes[ours])}'
                )
    if problems:
        raise ValueError('the weights do not fit the model:\n  ' + '\n  '.join(problems))
    variables = jax.tree.map(jnp.asarray, nested(fitted))
    return stack_layers(variables) if model.scans_layers else variables


def to_state_dict(
    model: Network, variables: Mapping[str, Any], scheme: Scheme = 'snnjax'
) -> dict[str, np.ndarray]:
    """Converts variables to NumPy arrays by PyTorch name, the inverse of `from_state_dict`.

    Raises:
      ValueError: if the scheme has no names for the network.
    """
    check_scheme(model, scheme)
    arrays = by_name(unstack_layers(trained_part(variables)))
    return {
        torch_name(model, tuple(name.split('/')), scheme): _to_torch_layout(
            np.asarray(leaf), _channels(model, name)
        )
        for name, leaf in arrays.items()
    }


def _image_size(
    model: Network, arrays: Mapping[str, np.ndarray], scheme: Scheme
) -> tuple[int, int]:
    """Returns the height and width of images that fit the weights."""
    if model.flattened is None:
        return model.image_size({})
    layer, _ = model.flattened
    kernel = arrays.get(torch_name(model, ('params', layer, 'kernel'), scheme))
    return model.image_size({} if kernel is None else {layer: {'kernel': kernel.T}})


def _channels(model: Network, name: str) -> int:
    """Returns the channels of the flattened pixels that a layer takes; 0 for other layers."""
    layer, channels = model.flattened or ('', 0)
    return channels if name == f'params/{layer}/kernel' else 0


def _variable_shapes(model: Network, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the unrolled model's variables for images of a size (H, W)."""
    model = model.unrolled().clone(num_steps=None)
    image = jax.ShapeDtypeStruct((1, *size, model.in_channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in by_name(variables).items()}


def _from_torch_layout(array: np.ndarray, channels: int = 0) -> np.ndarray:
    """Converts a convolution OIHW -> HWIO, or a matrix (out, in) -> (in, out).

    PyTorch flattens pixels with the channels first, this package with the channels last.
    """
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if channels and array.ndim == 2 and array.shape[1] % channels == 0:
        by_pixel = array.reshape(len(array), channels, -1).transpose(2, 1, 0)
        return by_pixel.reshape(-1, len(array))
    return array.T


def _to_torch_layout(array: np.ndarray, channels: int = 0) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1).copy()
    if channels:
        by_channel = array.reshape(-1, channels, array.shape[1]).transpose(2, 1, 0)
        return by_channel.reshape(array.shape[1], -1).copy()
    return array.T.copy()


def _to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    return shape[::-1]
