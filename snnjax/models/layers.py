"""The layers that every network here is made of: convolution, normalisation, neurons.

Activations are ``(B, T, H, W, C)``: batch first, because only then does folding ``B`` and ``T``
into one axis keep a batch-sharded array where it is. An activation that does not change over time
has ``T = 1``, is computed once, and broadcasts wherever it meets one that does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.neurons import lif

he_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class TDBN(nn.Module):
    """Threshold-dependent batch normalisation: ``scale * (x - mean) / sqrt(var + epsilon) + bias``.

    Statistics are per channel over batch, time, height and width, in float32 whatever the
    activations' dtype (eq. 4). Under a batch-sharded mesh they are those of the global batch. The
    scale starts at the firing threshold, so that a neuron's input has the standard deviation of its
    threshold.

    Attributes:
      train: normalise by the batch's statistics and update the running ones; else use those.
      initial_scale: where the scale starts, ``V_th``.
      momentum: share of the running statistics that an update keeps.
      epsilon: added to the variance.
    """

    train: bool
    initial_scale: float = 0.5
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``x``, channels last; same shape and dtype."""
        channels = x.shape[-1:]
        scale = self.param('scale', nn.initializers.constant(self.initial_scale), channels)
        bias = self.param('bias', nn.initializers.zeros, channels)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32)
        running_var = self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32)
        if self.train:
            mean, var = _channel_moments(x)
            if not self.is_initializing():
                kept = self.momentum
                running_mean.value = kept * running_mean.value + (1 - kept) * mean
                running_var.value = kept * running_var.value + (1 - kept) * var
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * gain + (bias - mean * gain)).astype(x.dtype)


def _channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel, in one pass over ``x``."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axes)
    return mean, jnp.maximum(jnp.mean(jnp.square(x), axes) - jnp.square(mean), 0.0)


class ConvNorm(nn.Module):
    """A square convolution without bias, then `TDBN`. Zero padding keeps the size at stride 1."""

    features: int
    kernel_size: int
    stride: int = 1
    train: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        x = nn.Conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            strides=self.stride,
            padding=self.kernel_size // 2,
            use_bias=False,
            kernel_init=he_normal,
            dtype=self.dtype,
            name='conv',
        )(x)
        return TDBN(self.train, name='norm')(x)


class LIF(nn.Module):
    """A layer of spiking neurons: `snnjax.neurons.lif` over the time axis.

    Each call leaves its firing rate in the collection ``firing_rates``, where that is mutable:
    ``rate``, one number an image (B,), the mean over time and neurons; and ``neurons``, how many
    there are.

    Attributes:
      num_steps: time steps that a constant current, one with ``T = 1``, is presented for.
      neuron: current ``(B, T, H, W, C)`` -> spikes of the same shape and dtype.
    """

    num_steps: int
    neuron: Callable[[jax.Array], jax.Array] = lif

    @nn.compact
    def __call__(self, current: jax.Array) -> jax.Array:
        """(B, 1 or T, H, W, C) -> (B, T, H, W, C), in the same dtype."""
        if current.shape[1] == 1:
            shape = (current.shape[0], self.num_steps, *current.shape[2:])
            current = jnp.broadcast_to(current, shape)
        spikes = self.neuron(current)
        if not self.is_initializing():
            wide = jnp.promote_types(spikes.dtype, jnp.float32)
            self._record('rate', jnp.mean(spikes, axis=(1, 2, 3, 4), dtype=wide))
            self._record('neurons', jnp.float32(spikes[0, 0].size))
        return spikes

    def _record(self, name: str, value: jax.Array) -> None:
        self.sow('firing_rates', name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def mean_firing_rate(firing_rates: Mapping[str, Any]) -> jax.Array:
    """Firing probability of a neuron per time step, over all neurons of a network (section 5.3).

    Args:
      firing_rates: the collection of that name, as ``model.apply(..., mutable=['firing_rates'])``
        gives it.

    Returns:
      One rate an image, (B,), float32.
    """
    layers = jax.tree.leaves(firing_rates, is_leaf=lambda node: 'neurons' in node)
    neurons = sum(layer['neurons'] for layer in layers)
    return sum(layer['rate'] * layer['neurons'] for layer in layers) / neurons
