"""Max and average pooling over windows or over all pixels, flattening and concatenation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.neurons.precision import at_least_float32
from snnjax.spelling import did_you_mean


def average_pool(x: jax.Array, size: int) -> jax.Array:
    """Averages windows: maps (B, T, H, W, C) to (B, T, H / size, W / size, C).

    Raises:
      ValueError: if ``size`` does not divide H and W.
    """
    height, width = x.shape[2:4]
    if height % size or width % size:
        raise ValueError(
            f'activations of {height}x{width} cannot be pooled by {size}: use images whose '
            f'height and width are divisible by all strides'
        )
    return mean_of_windows(x, size)


def mean_of_windows(x: jax.Array, size: int) -> jax.Array:
    """Averages windows of ``size`` by ``size`` pixels; drops pixels that do not fill a window."""
    windows = (1, size, size)
    # `nn.avg_pool` divides by an integer, which JAX refuses under strict dtype promotion.
    return nn.pool(x, 0.0, jax.lax.add, windows, windows, 'VALID') / float(size * size)


GATES = ('winner', 'count')
"""The kinds of max pooling of spikes that encode a rate. With 'winner', only the neuron with the
most spikes so far in a window passes on its spike; ties go to the first (Rueckauer et al. 2017).
With 'count', any spike of a window passes if the window has passed on fewer spikes than its most
active neuron has fired (Hu et al. 2018)."""


class MaxPool(nn.Module):
    """Max pooling; the maximum of spikes is a spike if there is any in the window.

    Attributes:
      size: the height and width of the window.
      stride: the stride between windows; None for ``size``.
      gate: '' for the maximum, or a value of `GATES` for spikes that encode a rate. The maximum of
        such spikes would fire more often than any of them.
    """

    size: int
    stride: int | None = None
    gate: str = ''

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, H / stride, W / stride, C).

        Windows that do not overlap drop pixels that do not fill a window. For overlapping windows
        the pixels are padded evenly, and the number of windows is rounded up.
        """
        stride = self.stride or self.size
        margin = self.size // 2 if stride < self.size else 0
        windows: dict[str, Any] = {'size': self.size, 'stride': stride, 'margin': margin}
        if not self.gate:
            return jax.lax.platform_dependent(
                x,
                cpu=functools.partial(_largest_by_comparing, **windows),
                default=functools.partial(_largest_by_windows, **windows),
            )
        if self.gate not in GATES:
            raise ValueError(f'unknown gate {self.gate!r}; {did_you_mean(self.gate, GATES)}')
        counts = jnp.cumsum((x != 0).astype(jnp.float32), axis=1)
        earlier = jnp.zeros_like(counts[:, 0])
        if self.is_mutable_collection('membrane') and not self.is_initializing():
            state = self.variable('membrane', 'counts', jnp.zeros_like, earlier)
            earlier = state.value
            counts += earlier[:, None]
            state.value = counts[:, -1]
        if self.gate == 'winner':
            return _of_most_frequent(x, counts, **windows)
        # A window has passed on as many spikes as its most active neuron had fired before.
        most = _largest_by_comparing(jnp.concatenate([earlier[:, None], counts], 1), **windows)
        rises = most[:, 1:] > most[:, :-1]
        return jnp.where(rises, _largest_by_comparing(x, **windows), jnp.zeros((), x.dtype))


def _largest_by_windows(x: jax.Array, *, size: int, stride: int, margin: int) -> jax.Array:
    pads = ((0, 0), (margin, margin), (margin, margin))
    return nn.max_pool(x, (1, size, size), (1, stride, stride), pads)


def _largest_by_comparing(x: jax.Array, *, size: int, stride: int, margin: int) -> jax.Array:
    """Computes `_largest_by_windows` faster on CPUs, with the same gradient.

    The gradient goes to the first of equal maxima. XLA:CPU computes the gradient of windows one by
    one, which takes 11 times as long as this function for 2x2 windows and 4 times for 3x3.
    """
    pads = ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    height, width = ((length - size) // stride + 1 for length in x.shape[2:4])
    largest = None
    for i, j in itertools.product(range(size), repeat=2):
        pixels = x[:, :, i::stride, j::stride][:, :, :height, :width]
        largest = pixels if largest is None else jnp.where(pixels > largest, pixels, largest)
    return cast(jax.Array, largest)


def _of_most_frequent(
    x: jax.Array, counts: jax.Array, *, size: int, stride: int, margin: int
) -> jax.Array:
    """Returns the spike of the neuron with the largest count in each window."""
    pads = ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0))
    x, counts = jnp.pad(x, pads), jnp.pad(counts, pads, constant_values=-1)
    height, width = ((length - size) // stride + 1 for length in x.shape[2:4])
    shape = (*x.shape[:2], height, width, x.shape[-1])
    best, spikes = jnp.full(shape, -1, counts.dtype), jnp.zeros(shape, x.dtype)
    for i, j in itertools.product(range(size), repeat=2):
        pixels, numbers = (
            array[:, :, i::stride, j::stride][:, :, :height, :width] for array in (x, counts)
        )
        spikes = jnp.where(numbers > best, pixels, spikes)
        best = jnp.maximum(best, numbers)
    return spikes


class AveragePool(nn.Module):
    """Average pooling over windows that do not overlap, see `mean_of_windows`.

    Attributes:
      size: the height and width of the window.
    """

    size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, H // size, W // size, C)."""
        return mean_of_windows(x, self.size)


class GlobalAveragePool(nn.Module):
    """The mean over all pixels.

    Attributes:
      over_time: True to average over time steps, too.
      keep_pixel: True to keep height and width as axes of length 1.
    """

    over_time: bool = False
    keep_pixel: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, C), (B, T, 1, 1, C) or (B, C).

        With ``keep_pixel`` the dtype stays; otherwise it is at least float32, for the classifier.
        """
        axes = (1, 2, 3) if self.over_time else (2, 3)
        dtype = at_least_float32(x.dtype)
        mean = jnp.mean(x, axis=axes, dtype=dtype, keepdims=self.keep_pixel)
        return mean.astype(x.dtype) if self.keep_pixel else mean


class AdaptiveAveragePool(nn.Module):
    """Average pooling to a fixed output size, with windows that overlap if necessary.

    The window of output i begins at ``floor(i * H / size)`` and ends before
    ``ceil((i + 1) * H / size)``. Images of any size become ``size`` by ``size`` pixels.

    Attributes:
      size: the height and width of the output.
    """

    size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, size, size, C), in the same dtype."""
        dtype = at_least_float32(x.dtype)
        y = x.astype(dtype)
        for axis, length in ((2, x.shape[2]), (3, x.shape[3])):
            if length != self.size:
                means = jnp.asarray(_means_of_windows(length, self.size), dtype)
                y = jnp.moveaxis(jnp.tensordot(y, means, axes=(axis, 1)), -1, axis)
        return y.astype(x.dtype)


def _means_of_windows(length: int, size: int) -> np.ndarray:
    """Returns the matrix (size, length) of the means of `AdaptiveAveragePool` along one axis."""
    means = np.zeros((size, length))
    for i in range(size):
        window = slice(i * length // size, -(-(i + 1) * length // size))
        means[i, window] = 1 / (window.stop - window.start)
    return means


class Flatten(nn.Module):
    """A layer that flattens all pixels of a time step, for a fully connected layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, 1, 1, H * W * C)."""
        return jnp.expand_dims(jax.lax.collapse(x, 2), (2, 3))


class Concatenate(nn.Module):
    """A layer that concatenates the channels of several layers."""

    @nn.compact
    def __call__(self, layers: Sequence[jax.Array]) -> jax.Array:
        """Joins arrays of shape (B, T, H, W, C_i) to one of shape (B, T, H, W, sum of C_i)."""
        return jnp.concatenate(layers, axis=-1)
