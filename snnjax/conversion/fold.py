"""Folding of batch normalization into the previous convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.models import Network
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN
from snnjax.models.observation import capture_layers
from snnjax.models.params import by_name, nested


class Folded(NamedTuple):
    """A convolution or fully connected layer, combined with the normalization after it.

    Attributes:
      kernel: a float64 array with the shape of the parameter.
      bias: a float64 array of shape (features,), 0 for a layer without a bias.
    """

    kernel: np.ndarray
    bias: np.ndarray


def fold_normalization(
    model: Network, variables: Mapping[str, Any], image_shape: tuple[int, ...]
) -> dict[str, Folded]:
    """Returns the weights of all layers with the normalization by running statistics folded in.

    With ``slope = gain * scale / sqrt(var + epsilon)`` the kernel is multiplied by the slope. The
    bias becomes ``(bias - mean) * slope`` plus the bias of the normalization.

    Args:
      model: the network, with unrolled layers.
      variables: the variables of the network, unstacked.
      image_shape: the image shape (H, W, C).

    Returns:
      The weights by the names of the layers, such as ``stage1/block1/conv1/conv``, in forward
      order.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with capture_layers(Conv, nn.Dense, TDBN) as calls:
        jax.eval_shape(model.apply, dict(variables), images)
    arrays = {name: np.asarray(value, np.float64) for name, value in by_name(variables).items()}
    folded: dict[str, Folded] = {}
    for call in calls:
        name = '/'.join(call.path)
        if not isinstance(call.module, TDBN):
            kernel = arrays[f'params/{name}/kernel']
            bias = arrays.get(f'params/{name}/bias', np.zeros(kernel.shape[-1]))
            folded[name] = Folded(kernel, bias)
            before = name
            continue
        # Normalization follows the layer whose outputs it normalizes.
        deviation = np.sqrt(arrays[f'batch_stats/{name}/var'] + call.module.epsilon)
        slope = call.module.gain * arrays[f'params/{name}/scale'] / deviation
        kernel, bias = folded[before]
        mean, shift = arrays[f'batch_stats/{name}/mean'], arrays[f'params/{name}/bias']
        folded[before] = Folded(kernel * slope, (bias - mean) * slope + shift)
    return folded


def apply_folded(
    model: Network,
    variables: Mapping[str, Any],
    folded: Mapping[str, Folded],
    images: jax.Array,
    **options: Any,
) -> Any:
    """Runs a network with folded weights; its normalization layers return their input unchanged.

    Args:
      model: the network, with unrolled layers.
      variables: the variables of the network, whose kernels and biases ``folded`` replaces.
      folded: the weights of `fold_normalization`.
      images: a float array of shape (B, H, W, C).
      **options: the arguments of ``model.apply``.
    """
    arrays = by_name(variables) | {
        f'params/{name}/kernel': weights.kernel.astype(images.dtype)
        for name, weights in folded.items()
    }

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name != '__call__':
            return call(*args, **kwargs)
        if isinstance(module, TDBN):
            return args[0]
        if not isinstance(module, Conv | nn.Dense):
            return call(*args, **kwargs)
        name = '/'.join(module.path)
        # The layer itself adds its own bias, if it has one.
        bias = folded[name].bias - np.asarray(arrays.get(f'params/{name}/bias', 0.0), np.float64)
        return call(*args, **kwargs) + jnp.asarray(bias, images.dtype)

    with nn.intercept_methods(intercept):
        return model.apply(nested(arrays), images, **options)
