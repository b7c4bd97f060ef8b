"""Convolutions of what changes over time, in the form that suits the platform."""

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
    # A rule of gradients does not know how types say that its operands lie on devices: over which
    # axes of `jax.shard_map` they vary, or how they are divided over explicit ones.
    mesh = jax.sharding.get_abstract_mesh()
    in_types = mesh.manual_axes or mesh.explicit_axes
    return (_of_images if in_types else _with_plain_gradients)(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _with_plain_gradients(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`_of_images` whose gradients are convolutions of images by kernels, too.

    The gradients that JAX derives read their operands with axes in other roles, the images of the
    batch as channels. XLA:CPU has fast convolutions only for the plain roles; it transposes other
    ones where a program begins, but not within its loops, where they take 2 to 30 times as long.
    Here they are transposed beforehand. The numbers are the same, bit for bit.
    """
    return _of_images(x, kernel, stride)


def _keep_operands(
    x: jax.Array, kernel: jax.Array, stride: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _of_images(x, kernel, stride), (x, kernel)


def _plain_gradients(
    stride: int, operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients to the images and to the kernel, from that to the result."""
    x, kernel = operands
    # Of each side: pixels of the images, of the result once they are `stride` apart, the kernel's.
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
