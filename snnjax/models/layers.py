"""The layers that every network here is made of: convolution, normalisation, neurons.

Activations are ``(B, T, H, W, C)``: batch first, because only then does folding ``B`` and ``T``
into one axis keep a batch-sharded array where it is. An activation that does not change over time
has ``T = 1``, is computed once, and broadcasts wherever it meets one that does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from snnjax.models.convolution import Conv
from snnjax.neurons import lif


class TDBN(nn.Module):
    """Threshold-dependent batch normalisation (TDBN)::

        gain * scale * (x - mean) / sqrt(var + epsilon) + bias

    Statistics are per channel over batch, time, height and width, in float32 whatever the
    activations' dtype (eq. 4). Under a batch-sharded mesh they are those of the global batch. The
    scale starts at the firing threshold, so that a neuron's input has the standard deviation of its
    threshold.

    Attributes:
      train: normalise by the batch's statistics and update the running ones; else use those.
      initial_scale: where the scale starts, ``V_th``.
      gain: a constant factor; ``alpha * V_th`` in the form of Zheng et al. 2021, whose scale starts
        at 1.
      momentum: share of the running statistics that an update keeps.
      epsilon: added to the variance.
    """

    train: bool
    initial_scale: float = 0.5
    gain: float = 1.0
    momentum: float = 0.9
    epsilon: float = 1e-5

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``x``, channels last; same shape and dtype."""
        slope, offset = self.affine(x)
        return (x * slope + offset).astype(x.dtype)

    @nn.compact
    def affine(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What ``x`` is multiplied by and what is added to it, of each channel: (C,) and (C,)."""
        channels = x.shape[-1:]
        scale = self.param('scale', nn.initializers.constant(self.initial_scale), channels)
        bias = self.param('bias', nn.initializers.zeros, channels)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32)
        running_var = self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32)
        if self.train:
            mean, var = checkpoint_name(_channel_moments(x), 'moments')
            if not self.is_initializing():
                kept = self.momentum
                running_mean.value = kept * running_mean.value + (1 - kept) * mean
                running_var.value = kept * running_var.value + (1 - kept) * var
        else:
            mean, var = running_mean.value, running_var.value
        slope = self.gain * scale * jax.lax.rsqrt(var + self.epsilon)
        return slope, bias - mean * slope


def _channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel, in one pass over ``x``."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axes)
    return mean, jnp.maximum(jnp.mean(jnp.square(x), axes) - jnp.square(mean), 0.0)


class ConvNorm(nn.Module):
    """A square convolution without bias, then `TDBN`. Zero padding keeps the size at stride 1.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.
      stride: of the convolution.
      branch: what the output is, if it is about to be added to another: the last of a 'residual'
        path, or a 'shortcut'.
      train: see `TDBN`.
      threshold: of the neurons, where the scale of `TDBN` starts.
      runtime_scale: multiply by ``alpha * V_th`` at run time instead, and start at 1; ``alpha`` is
        1, and ``1 / sqrt(2)`` for the two branches of an addition (Zheng et al. 2021).
      zero_init_residual: start the scale of a residual path's last normalisation at 0 (B.3).
      dtype: of the convolution; None follows the activations.
    """

    features: int
    kernel_size: int
    stride: int = 1
    branch: Literal['residual', 'shortcut'] | None = None
    train: bool = False
    threshold: float = 0.5
    runtime_scale: bool = False
    zero_init_residual: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        x = Conv(self.features, self.kernel_size, self.stride, dtype=self.dtype, name='conv')(x)
        x = checkpoint_name(x, 'convolution')
        scale, gain = self.threshold, 1.0
        if self.runtime_scale:
            alpha = 1.0 if self.branch is None else math.sqrt(0.5)
            scale, gain = 1.0, alpha * self.threshold
        if self.zero_init_residual and self.branch == 'residual':
            scale = 0.0
        return TDBN(self.train, initial_scale=scale, gain=gain, name='norm')(x)


def average_pool(x: jax.Array, size: int) -> jax.Array:
    """Means of ``size`` by ``size`` pixels: (B, T, H, W, C) -> (B, T, H / size, W / size, C).

    Raises:
      ValueError: where ``size`` does not divide H and W.
    """
    height, width = x.shape[2:4]
    if height % size or width % size:
        raise ValueError(
            f'activations of {height}x{width} cannot be pooled by {size}: give images whose size '
            f'all strides divide'
        )
    return nn.avg_pool(x, (1, size, size), (1, size, size))


class LIF(nn.Module):
    """A layer of spiking neurons: `snnjax.neurons.lif` over the time axis.

    Each call leaves its firing rate in the collection ``firing_rates``, where that is mutable:
    ``rate``, one number an image (B,), the mean over time and neurons; and ``neurons``, how many
    there are.

    Attributes:
      num_steps: time steps that a constant current, one with ``T = 1``, is presented for.
      neuron: ``(current, decay=..., threshold=...) -> spikes``, the current ``(B, T, H, W, C)``.
      decay: of the membrane potential.
      threshold: for firing.
      learnable_decay: make the decay a parameter of the layer, ``sigmoid(decay_logit)``.
      learnable_threshold: make the threshold a parameter of the layer, ``threshold``.
    """

    num_steps: int
    neuron: Callable[..., jax.Array] = lif
    decay: float = 0.25
    threshold: float = 0.5
    learnable_decay: bool = False
    learnable_threshold: bool = False

    @nn.compact
    def __call__(self, current: jax.Array) -> jax.Array:
        """(B, 1 or T, H, W, C) -> (B, T, H, W, C), in the same dtype."""
        if current.shape[1] == 1:
            shape = (current.shape[0], self.num_steps, *current.shape[2:])
            current = jnp.broadcast_to(current, shape)
        decay: Any = self.decay
        if self.learnable_decay:
            logit = math.log(self.decay / (1 - self.decay))
            decay = nn.sigmoid(self.param('decay_logit', nn.initializers.constant(logit), ()))
        threshold: Any = self.threshold
        if self.learnable_threshold:
            threshold = self.param('threshold', nn.initializers.constant(self.threshold), ())
        spikes = self.neuron(current, decay=decay, threshold=threshold)
        record_rate(self, spikes)
        return spikes


class ReLU(nn.Module):
    """What an ANN has in the place of neurons; its firing rate is the share of positive outputs."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Any shape; same shape and dtype."""
        record_rate(self, x > 0)
        return nn.relu(x)


def record_rate(module: nn.Module, spikes: jax.Array) -> None:
    """Leaves the firing rate of ``spikes`` (B, T, ...) in the collection ``firing_rates``."""
    if module.is_initializing():
        return
    dtype = jnp.promote_types(spikes.dtype, jnp.float32)
    rate = jnp.mean(spikes, axis=tuple(range(1, spikes.ndim)), dtype=dtype)
    for name, value in {'rate': rate, 'neurons': jnp.float32(spikes[0, 0].size)}.items():
        module.sow('firing_rates', name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def mean_firing_rate(firing_rates: Mapping[str, Any]) -> jax.Array:
    """Firing probability of a neuron per time step, over all neurons of a network (section 5.3).

    Args:
      firing_rates: the collection of that name, as ``model.apply(..., mutable=['firing_rates'])``
        gives it.

    Returns:
      One rate an image, (B,), float32.
    """
    layers = jax.tree.leaves(firing_rates, is_leaf=lambda node: 'neurons' in node)
    # Scanned layers have a leading axis: (layers, B) and (layers,).
    rates = jnp.concatenate([jnp.atleast_2d(layer['rate']) for layer in layers])
    neurons = jnp.concatenate([jnp.atleast_1d(layer['neurons']) for layer in layers])
    return neurons @ rates / jnp.sum(neurons)
