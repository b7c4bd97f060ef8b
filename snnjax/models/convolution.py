"""Convolutions over time steps, in the form that is fastest on each platform."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

he_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class Conv(nn.Module):
    """A square convolution of each time step. Zero padding keeps the size at stride 1.

    Attributes:
      features: the number of output channels.
      kernel_size: the height and width of the kernel, a parameter of shape
        ``(size, size, in / groups, out)``.
      stride: the stride of the convolution.
      use_bias: True to add a parameter to each output channel.
      groups: the number of channel groups, each with its own convolution; the number of channels
        for a depthwise convolution.
      dtype: the dtype of the computation; None for that of input and parameters.
    """

    features: int
    kernel_size: int
    stride: int = 1
    use_bias: bool = False
    dtype: Any = None
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
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

    On TPUs time is a third axis of the convolution, with a kernel of length 1. XLA can then lay out
    time outermost in memory, which suits the neurons, and neither neurons nor convolutions have to
    copy. On other platforms time is folded into the batch, since they have no fast convolutions
    over three axes. ``docs/performance.md`` has measurements of both. The function is jitted so
    that layers of the same shapes are traced once.

    Args:
      x: a float array of shape (B, T, H, W, C).
      kernel: a float array of shape (height, width, C / groups, features), of odd height and width.
      stride: the stride along both axes.
      groups: the number of channel groups, see `Conv`.

    Returns:
      An array of shape (B, T, ceil(H / stride), ceil(W / stride), features).
    """
    of_images = functools.partial(_of_images, groups=groups)
    on_cpu = of_images if groups > 1 else _on_cpu
    return lax.platform_dependent(
        x,
        kernel,
        tpu=functools.partial(_with_time, stride=stride, groups=groups),
        cpu=functools.partial(_folded, stride=stride, of_images=on_cpu),
        default=functools.partial(_folded, stride=stride, of_images=of_images),
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


def _folded(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    of_images: Callable[[jax.Array, jax.Array, int], jax.Array],
) -> jax.Array:
    images = of_images(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), kernel, stride)
    return images.reshape(*x.shape[:2], *images.shape[1:])


def _of_images(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    return _convolve_images(x, kernel, _pads(kernel), (stride, stride), groups=groups)


def _on_cpu(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    # A custom gradient rule loses the device information in the types of its operands: the axes of
    # `jax.shard_map` over which they vary, or their sharding over explicit axes.
    mesh = jax.sharding.get_abstract_mesh()
    in_types = mesh.manual_axes or mesh.explicit_axes
    return (_of_images if in_types else _with_plain_gradients)(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _with_plain_gradients(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes `_of_images`, with gradients that are convolutions of images by kernels, too.

    The gradients that JAX derives swap the roles of axes, such as batch and channels. XLA:CPU has
    fast convolutions only for the usual roles. It transposes other operands at the start of a
    program but not within loops, where their convolutions take 2 to 30 times as long. Here the
    operands are transposed beforehand. The results are equal bit for bit.
    """
    return _of_images(x, kernel, stride)


def _keep_operands(
    x: jax.Array, kernel: jax.Array, stride: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _of_images(x, kernel, stride), (x, kernel)


def _plain_gradients(
    stride: int, operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of images and kernel from the gradient of the result."""
    x, kernel = operands
    # For height and width: sizes of the images, the dilated result and the kernel, and the padding.
    sides = [
        (side, (result - 1) * stride + 1, size, size // 2)
        for side, result, size in zip(
            x.shape[1:3], gradient.shape[1:3], kernel.shape[:2], strict=True
        )
    ]
    to_x = _convolve_images(
        gradient,
        lax.rev(kernel, (0, 1)).swapaxes(2, 3),
        [(size - 1 - pad, side + pad - spread) for side, spread, size, pad in sides],
        lhs_dilation=(stride, stride),
    )
    to_kernel = _convolve_images(
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        [(pad, spread + size - 1 - side - pad) for side, spread, size, pad in sides],
        rhs_dilation=(stride, stride),
    )
    return to_x, to_kernel.transpose(1, 2, 0, 3)


_with_plain_gradients.defvjp(_keep_operands, _plain_gradients)


def _convolve_images(
    x: jax.Array,
    kernel: jax.Array,
    pads: Sequence[tuple[int, int]],
    window_strides: tuple[int, int] = (1, 1),
    lhs_dilation: tuple[int, int] | None = None,
    rhs_dilation: tuple[int, int] | None = None,
    groups: int = 1,
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides,
        pads,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )


def _pads(kernel: jax.Array) -> list[tuple[int, int]]:
    return [(size // 2, size // 2) for size in kernel.shape[:2]]
