"""Convolutions of what changes over time, in the form that suits the platform."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

he_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class Conv(nn.Module):
    """A square convolution of each time step, padded evenly by zeros: stride 1 keeps the size.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel, a parameter ``(size, size, in / groups, out)``.
      stride: of the convolution.
      use_bias: add a parameter to each output channel.
      groups: parts of the channels, each with a convolution of its own; as many as channels for a
        depthwise convolution.
      dtype: of the computation; None follows input and parameters.
    """

    features: int
    kernel_size: int
    stride: int = 1
    use_bias: bool = False
    dtype: Any = None
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        size, channels = self.kernel_size, x.shape[-1] // self.groups
        shape = (size, size, channels, self.features)
        kernel = self.param('kernel', he_normal, shape, jnp.float32)
        dtype = self.dtype or np.promote_types(x.dtype, kernel.dtype)
        y = convolve(x.astype(dtype), kernel.astype(dtype), self.stride, self.groups)
        if not self.use_bias:
            return y
        bias = self.param('bias', nn.initializers.zeros, self.features, jnp.float32)
        return y + jnp.expand_dims(bias.astype(dtype), range(y.ndim - 1))


@functools.partial(jax.jit, static_argnames=('stride', 'groups'), inline=True)
def convolve(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    """Convolves each time step of each image.

    On TPUs time is a third axis of the convolution, along which the kernel is 1 long. XLA can then
    lay time outermost in memory, where the neurons take it step by step, and neither they nor the
    convolution have to copy. Elsewhere time is folded into the batch, since for three axes there
    are no fast convolutions. Numbers for both are in ``docs/performance.md``. It is jitted so that
    layers of the same shapes are traced once.

    Args:
      x: (B, T, H, W, C).
      kernel: (height, width, C / groups, features), of odd size.
      stride: of both axes.
      groups: parts of the channels, see `Conv`.

    Returns:
      (B, T, ceil(H / stride), ceil(W / stride), features).
    """
    return lax.platform_dependent(
        x,
        kernel,
        tpu=functools.partial(_with_time, stride=stride, groups=groups),
        default=functools.partial(_folded, stride=stride, groups=groups),
    )


def _with_time(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel[None],
        (1, stride, stride),
        [(0, 0), *_pads(kernel)],
        dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
        feature_group_count=groups,
    )


def _folded(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    images = lax.conv_general_dilated(
        x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]),
        kernel,
        (stride, stride),
        _pads(kernel),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )
    return images.reshape(*x.shape[:2], *images.shape[1:])


def _pads(kernel: jax.Array) -> list[tuple[int, int]]:
    return [(size // 2, size // 2) for size in kernel.shape[:2]]
