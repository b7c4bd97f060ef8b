"""The layers of all networks: convolution, normalization, neurons.

Activations have the shape ``(B, T, H, W, C)``. The batch comes first because folding ``B`` and
``T`` into one axis then leaves a batch-sharded array in place. An activation that is constant over
time has ``T = 1``, is computed once, and broadcasts against activations that change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax.ad_checkpoint import checkpoint_name

from snnjax.models.convolution import Conv
from snnjax.models.rollouts import delayed, over_time
from snnjax.neurons import lif
from snnjax.neurons.precision import at_least_float32
from snnjax.neurons.registry import as_neuron

Branch = Literal['residual', 'shortcut', 'spiking'] | None
"""The role of a convolution in its block, see `ConvNorm`."""


class TDBN(nn.Module):
    """Threshold-dependent batch normalization (TDBN)::

        gain * scale * (x - mean) / sqrt(var + epsilon) + bias

    Mean and variance are taken per channel over batch, time, height and width (eq. 4), in float32
    or wider. Under a batch-sharded mesh they are the statistics of the global batch. The scale
    starts at the firing threshold, so that the input of a neuron has its threshold as standard
    deviation.

    Attributes:
      train: True to normalize by the batch statistics and update the running statistics; False to
        normalize by the running statistics.
      initial_scale: the initial value of the scale, ``V_th``.
      gain: a constant factor; ``alpha * V_th`` in the form of Zheng et al. 2021, in which the scale
        starts at 1.
      momentum: the share of the running statistics that an update keeps.
      epsilon: the constant added to the variance.
    """

    train: bool
    initial_scale: float = 0.5
    gain: float = 1.0
    momentum: float = 0.9
    epsilon: float = 1e-5

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes ``x``, channels last; returns the same shape and dtype."""
        slope, offset = (_by_channel(factor, x) for factor in self.affine(x))
        return (x.astype(slope.dtype) * slope + offset).astype(x.dtype)

    @nn.compact
    def affine(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the slope (C,) and the offset (C,) of the normalization of each channel."""
        channels = x.shape[-1:]
        start = nn.initializers.constant(self.initial_scale)
        scale = self.param('scale', start, channels, jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32)
        running_var = self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32)
        if self.train and x.size:
            mean, var = checkpoint_name(_channel_moments(x), 'moments')
            if not self.is_initializing():
                kept = self.momentum
                running_mean.value = kept * running_mean.value + (1 - kept) * mean
                running_var.value = kept * running_var.value + (1 - kept) * var
        else:
            mean, var = running_mean.value, running_var.value
        slope = self.gain * scale * jax.lax.rsqrt(var + self.epsilon)
        return slope, bias - mean * slope


def _by_channel(values: jax.Array, x: jax.Array) -> jax.Array:
    """Reshapes (C,) to (1, ..., 1, C), with the rank of ``x``."""
    return jnp.expand_dims(values, range(x.ndim - 1))


def _channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and biased variance of each channel, in one pass over ``x``.

    Squares are summed about a shift, the mean over the batch of the channel's middle pixel. Without
    it, the variance of values far from 0 would be the difference of two large numbers. The shift
    does not change the moments, so it needs no gradient.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(at_least_float32(x.dtype))
    middle = x[(slice(None), *(size // 2 for size in x.shape[1:-1]))]
    shift = checkpoint_name(jax.lax.stop_gradient(jnp.mean(middle, axis=0)), 'moments')
    offset = checkpoint_name(jnp.mean(x - _by_channel(shift, x), axes), 'moments')
    # Halving changes no bit. Otherwise both sums share a difference, which XLA:CPU would store.
    squares = 4 * jnp.mean(jnp.square(0.5 * x - _by_channel(0.5 * shift, x)), axes)
    return shift + offset, jnp.maximum(squares - jnp.square(offset), 0.0)


class ConvNorm(nn.Module):
    """A square convolution, then `TDBN`. Zero padding keeps the size at stride 1.

    Attributes:
      features: the number of output channels.
      kernel_size: the height and width of the kernel.
      stride: the stride of the convolution.
      branch: the role of an output that is about to be added to another branch: 'residual' for the
        end of a residual path, 'shortcut' for a shortcut, or 'spiking' for the end of a residual
        path with neurons before the addition. None for other convolutions.
      train: True for batch statistics, see `TDBN`.
      threshold: the firing threshold, which is the initial scale of `TDBN`.
      runtime_scale: True to multiply by ``alpha * V_th`` at run time and start the scale at 1.
        ``alpha`` is ``1 / sqrt(2)`` for the two branches of an addition and 1 elsewhere (Zheng et
        al. 2021).
      zero_init_residual: True to start the scale of a residual path's last normalization at 0
        (B.3).
      dtype: the dtype of the convolution; None for the dtype of the activations.
      groups: the number of channel groups, see `snnjax.models.convolution.Conv`.
      use_bias: True to add a bias to the convolution.
      normalize: False to leave out the normalization.
      momentum: the momentum of `TDBN`.
      epsilon: the epsilon of `TDBN`.
    """

    features: int
    kernel_size: int
    stride: int = 1
    branch: Branch = None
    train: bool = False
    threshold: float = 0.5
    runtime_scale: bool = False
    zero_init_residual: bool = False
    dtype: Any = None
    groups: int = 1
    use_bias: bool = False
    normalize: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        x = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            use_bias=self.use_bias,
            groups=self.groups,
            dtype=self.dtype,
            name='conv',
        )(x)
        x = checkpoint_name(x, 'convolution')
        if not self.normalize:
            return x
        scale, gain = self.threshold, 1.0
        if self.runtime_scale:
            alpha = math.sqrt(0.5) if self.branch in ('residual', 'shortcut') else 1.0
            scale, gain = 1.0, alpha * self.threshold
        if self.zero_init_residual and self.branch in ('residual', 'spiking'):
            scale = 0.0
        return TDBN(
            self.train,
            initial_scale=scale,
            gain=gain,
            momentum=self.momentum,
            epsilon=self.epsilon,
            name='norm',
        )(x)


def dropout(x: jax.Array, share: float, *, train: bool, alike: tuple[int, ...] = ()) -> jax.Array:
    """Applies dropout and divides kept values by the share that is kept.

    Only modules can call it, since the mask comes from their rng 'dropout'.

    Args:
      x: a float array.
      share: the share of values to drop.
      train: False to return ``x`` unchanged.
      alike: the axes along which the mask is constant.
    """
    mask = nn.Dropout(share, broadcast_dims=alike, deterministic=not train)
    # The mask is multiplied separately, since `nn.Dropout` refuses arrays on explicit mesh axes.
    kept = mask(jnp.ones(x.shape, x.dtype)) > 0
    return x / (1 - share) * kept.astype(x.dtype) if train and share else x


class TemporalAttention(nn.Module):
    """A layer that weights time steps by attention over all of them (Yao et al. 2021)::

        x[t] * sigmoid(W2 relu(W1 d + b1) + b2)[t]        d[t] = mean of x[t]

    Attributes:
      num_steps: the number of time steps T, to which a constant current is repeated.
      hidden: the width of the hidden layer.
    """

    num_steps: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1 or T, H, W, C) to (B, T, H, W, C), in the same dtype."""
        x = over_time(x, self.num_steps)
        dtype = at_least_float32(x.dtype)
        weights = jnp.mean(x, axis=(2, 3, 4), dtype=dtype)
        weights = nn.relu(nn.Dense(self.hidden, name='squeeze')(weights))
        weights = nn.sigmoid(nn.Dense(self.num_steps, name='excite')(weights))
        weighted = x.astype(weights.dtype) * weights[:, :, None, None, None]
        return weighted.astype(x.dtype)


class SpikingNeurons(nn.Module):
    """A layer of spiking neurons: a function of `snnjax.neurons.NEURONS` over the time axis.

    If the collection ``firing_rates`` is mutable, each call stores two values in it: ``rate``, the
    firing rate of each image, of shape (B,), averaged over time and neurons; and ``neurons``, the
    number of neurons.

    If the collection ``membrane`` is mutable and the neuron has an ``advance`` function, the layer
    continues from the membrane potential in the collection and stores the last one there. A long
    simulation can then run in parts.

    Attributes:
      num_steps: the number of time steps of a constant current, which has ``T = 1``.
      neuron: a function ``(current, **options) -> spikes`` of a current ``(B, T, H, W, C)``.
      options: the options of the neuron, by name. Missing options take their defaults.
      learnable: the options that are parameters of the layer and start at their value. A parameter
        has the name of its option. An option that is a share (`snnjax.neurons.Neuron`) is the
        sigmoid of a parameter ``<name>_logit``.
      shapes: 'channel' or 'neuron' for each learnable option that is an array with one value per
        channel or per neuron, by name.
      delay: True to pass on the spikes one time step late (`snnjax.models.rollouts`).
    """

    num_steps: int
    neuron: Callable[..., jax.Array] = lif
    options: Mapping[str, Any] = FrozenDict()
    learnable: tuple[str, ...] = ()
    shapes: Mapping[str, str] = FrozenDict()
    delay: bool = False

    @nn.compact
    def __call__(self, current: jax.Array) -> jax.Array:
        """Maps (B, 1 or T, H, W, C) to (B, T, H, W, C), in the same dtype."""
        current = over_time(current, self.num_steps)
        options = dict(self.options)
        for option in self.learnable:
            key, is_share = self._parameter(option)
            start = self._start(option)
            start = math.log(start / (1 - start)) if is_share else start
            shapes = {'channel': current.shape[4:], 'neuron': current.shape[2:]}
            shape = shapes.get(self.shapes.get(option, ''), ())
            value = self.param(key, nn.initializers.constant(start), shape, jnp.float32)
            options[option] = nn.sigmoid(value) if is_share else value
        neuron = as_neuron(self.neuron)
        continues = self.is_mutable_collection('membrane') and not self.is_initializing()
        if neuron.advance and continues:
            potential = self.variable(
                'membrane', 'potential', functools.partial(self.start, current[:, 0], options)
            )
            spikes, potential.value = neuron.advance(current, potential.value, **options)
        else:
            spikes = neuron(current, **options)
        record_rate(self, spikes != 0 if neuron.rate_coded else spikes)
        return delayed(self, spikes) if self.delay else spikes

    @nn.nowrap
    def start(self, step: Any, options: Mapping[str, Any]) -> jax.Array:
        """Returns the membrane potential before the first step, by `snnjax.neurons.Neuron.start`.

        Args:
          step: the current of one step (B, H, W, C); only its shape and dtype matter.
          options: the options of the neuron, see `all_options`.

        Raises:
          ValueError: if the neuron defines no initial membrane potential.
        """
        neuron = as_neuron(self.neuron)
        if neuron.start is None:
            raise ValueError(
                'the neuron defines no initial membrane potential, so it cannot run step by step; '
                'use a converted network or one of activations'
            )
        known = neuron.options | dict(options)
        return neuron.start(step, known['threshold'], known['initial'])

    @nn.nowrap
    def all_options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all options of the neuron; learned ones are computed from the parameters.

        Args:
          params: a dict of float arrays of NumPy or JAX, by parameter name. Options are computed in
            their dtype.
        """
        options = as_neuron(self.neuron).options | dict(self.options)
        for option in self.learnable:
            key, is_share = self._parameter(option)
            value = params[key]
            if is_share:
                value = (
                    nn.sigmoid(value) if isinstance(value, jax.Array) else 1 / (1 + np.exp(-value))
                )
            options[option] = value
        return options

    @nn.nowrap
    def _parameter(self, option: str) -> tuple[str, bool]:
        """Returns the name of an option's parameter, and True if the parameter is a logit."""
        is_share = option in as_neuron(self.neuron).shares
        return (f'{option}_logit' if is_share else option), is_share

    @nn.nowrap
    def _start(self, option: str) -> float:
        """Returns the initial value of a learnable option."""
        return (as_neuron(self.neuron).options | dict(self.options))[option]


class LIF(SpikingNeurons):
    """`SpikingNeurons` with decay and threshold as attributes, under the layer's original name.

    Attributes:
      decay: the share of the membrane potential that remains after one time step.
      threshold: the firing threshold.
      learnable_decay: True to make the decay a parameter of the layer.
      learnable_threshold: True to make the threshold a parameter of the layer.
    """

    decay: float = 0.25
    threshold: float = 0.5
    learnable_decay: bool = False
    learnable_threshold: bool = False

    def __post_init__(self) -> None:
        names = ('decay', 'threshold')
        self.options = FrozenDict({name: getattr(self, name) for name in names} | {**self.options})
        learned = [name for name in names if getattr(self, f'learnable_{name}')]
        self.learnable = tuple(dict.fromkeys([*learned, *self.learnable]))
        super().__post_init__()


def record_rate(module: nn.Module, spikes: jax.Array) -> None:
    """Stores the firing rate of ``spikes`` (B, T, ...) in the collection ``firing_rates``."""
    if module.is_initializing():
        return
    dtype = at_least_float32(spikes.dtype)
    rate = jnp.mean(spikes, axis=tuple(range(1, spikes.ndim)), dtype=dtype)
    for name, value in {'rate': rate, 'neurons': jnp.float32(math.prod(spikes.shape[2:]))}.items():
        module.sow('firing_rates', name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def mean_firing_rate(firing_rates: Mapping[str, Any]) -> jax.Array:
    """Returns the mean spike probability per neuron and time step of a network (section 5.3).

    Args:
      firing_rates: the collection of this name that ``model.apply(..., mutable=['firing_rates'])``
        returns.

    Returns:
      One rate per image, float32 of shape (B,).
    """
    layers = jax.tree.leaves(firing_rates, is_leaf=lambda node: 'neurons' in node)
    # Scanned layers have a leading axis: (layers, B) and (layers,).
    rates = jnp.concatenate([jnp.atleast_2d(layer['rate']) for layer in layers])
    neurons = jnp.concatenate([jnp.atleast_1d(layer['neurons']) for layer in layers])
    return neurons @ rates / jnp.sum(neurons)
