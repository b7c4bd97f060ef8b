"""The layers that every network here is made of: convolution, normalisation, neurons.

Activations are ``(B, T, H, W, C)``: batch first, because only then does folding ``B`` and ``T``
into one axis keep a batch-sharded array where it is. An activation that does not change over time
has ``T = 1``, is computed once, and broadcasts wherever it meets one that does.
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
"""See `ConvNorm`."""


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
        slope, offset = (_by_channel(factor, x) for factor in self.affine(x))
        return (x.astype(slope.dtype) * slope + offset).astype(x.dtype)

    @nn.compact
    def affine(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What ``x`` is multiplied by and what is added to it, of each channel: (C,) and (C,)."""
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
    """(C,) -> (1, ..., 1, C), of the rank of ``x``."""
    return jnp.expand_dims(values, range(x.ndim - 1))


def _channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and biased variance of each channel, in one pass over ``x``.

    Squares are summed about a value of the channel, that of the middle of each image on average:
    about 0, the variance of values far from it would be the difference of two large numbers. What
    they are summed about does not change the moments, and so needs no gradient.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(at_least_float32(x.dtype))
    middle = x[(slice(None), *(size // 2 for size in x.shape[1:-1]))]
    shift = checkpoint_name(jax.lax.stop_gradient(jnp.mean(middle, axis=0)), 'moments')
    offset = checkpoint_name(jnp.mean(x - _by_channel(shift, x), axes), 'moments')
    # In halves, which changes no bit: XLA for CPUs would write a difference that both sums share.
    squares = 4 * jnp.mean(jnp.square(0.5 * x - _by_channel(0.5 * shift, x)), axes)
    return shift + offset, jnp.maximum(squares - jnp.square(offset), 0.0)


class ConvNorm(nn.Module):
    """A square convolution, then `TDBN`. Zero padding keeps the size at stride 1.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.
      stride: of the convolution.
      branch: what the output is, if it is about to be added to another: the last of a 'residual'
        path, or a 'shortcut'; or the last of a 'spiking' one, whose neurons come before the
        addition.
      train: see `TDBN`.
      threshold: of the neurons, where the scale of `TDBN` starts.
      runtime_scale: multiply by ``alpha * V_th`` at run time instead, and start at 1; ``alpha`` is
        1, and ``1 / sqrt(2)`` for the two branches of an addition (Zheng et al. 2021).
      zero_init_residual: start the scale of a residual path's last normalisation at 0 (B.3).
      dtype: of the convolution; None follows the activations.
      groups: see `snnjax.models.convolution.Conv`.
      use_bias: likewise.
      normalize: False for the convolution alone.
      momentum: see `TDBN`.
      epsilon: likewise.
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
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
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
    """Dropout: what is kept is divided by the share that is kept. To be called by a module.

    Args:
      x: floating array.
      share: share that is left out.
      train: False to return it as it is.
      alike: axes along which the same is left out.
    """
    mask = nn.Dropout(share, broadcast_dims=alike, deterministic=not train)
    # A mask to multiply by, since `nn.Dropout` refuses what lies on a mesh of explicit axes.
    kept = mask(jnp.ones(x.shape, x.dtype)) > 0
    return x / (1 - share) * kept.astype(x.dtype) if train and share else x


class TemporalAttention(nn.Module):
    """Weights time steps by what is seen in all of them (Yao et al. 2021)::

        x[t] * sigmoid(W2 relu(W1 d + b1) + b2)[t]        d[t] = mean of x[t]

    Attributes:
      num_steps: time steps T, which a current that is the same in all of them is given.
      hidden: width of the layer between.
    """

    num_steps: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, 1 or T, H, W, C) -> (B, T, H, W, C), in the same dtype."""
        x = over_time(x, self.num_steps)
        dtype = at_least_float32(x.dtype)
        weights = jnp.mean(x, axis=(2, 3, 4), dtype=dtype)
        weights = nn.relu(nn.Dense(self.hidden, name='squeeze')(weights))
        weights = nn.sigmoid(nn.Dense(self.num_steps, name='excite')(weights))
        weighted = x.astype(weights.dtype) * weights[:, :, None, None, None]
        return weighted.astype(x.dtype)


class SpikingNeurons(nn.Module):
    """A layer of spiking neurons: a function of `snnjax.neurons.NEURONS` over the time axis.

    Each call leaves its firing rate in the collection ``firing_rates``, where that is mutable:
    ``rate``, one number an image (B,), the mean over time and neurons; and ``neurons``, how many
    there are.

    Attributes:
      num_steps: time steps that a constant current, one with ``T = 1``, is presented for.
      neuron: ``(current, **options) -> spikes``, the current ``(B, T, H, W, C)``.
      options: options of the neuron; those that are not here have their defaults.
      learnable: options that are a parameter of the layer, which starts at their value. The
        parameter has the option's name; a share, see `snnjax.neurons.Neuron`, is the sigmoid of a
        parameter ``<name>_logit``.
      shapes: 'channel' or 'neuron' by the names of those of them that are an array, one number a
        channel or a neuron.
      delay: hand on the spikes one time step late, see `snnjax.models.rollouts`.

    If the collection ``membrane`` is mutable, and the neuron can, the layer continues from the
    potential that is in it and leaves its own there: a long simulation can be run in parts.
    """

    num_steps: int
    neuron: Callable[..., jax.Array] = lif
    options: Mapping[str, Any] = FrozenDict()
    learnable: tuple[str, ...] = ()
    shapes: Mapping[str, str] = FrozenDict()
    delay: bool = False

    @nn.compact
    def __call__(self, current: jax.Array) -> jax.Array:
        """(B, 1 or T, H, W, C) -> (B, T, H, W, C), in the same dtype."""
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
        """Returns the membrane potential before the first step, for `snnjax.neurons.Neuron.start`.

        Args:
          step: the current of one step (B, H, W, C), for its shape and dtype.
          options: of the neuron, see `all_options`.
        """
        neuron = as_neuron(self.neuron)
        if neuron.start is None:
            raise ValueError('the neurons do not tell where their membrane potential starts')
        known = neuron.options | dict(options)
        return neuron.start(step, known['threshold'], known['initial'])

    @nn.nowrap
    def all_options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all options of the neuron, the learned ones from the parameters of the layer.

        Args:
          params: float arrays by name, as NumPy or JAX has them. Options are computed in their
            dtype.
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
        """Returns the name of an option's parameter, and whether that is a logit."""
        is_share = option in as_neuron(self.neuron).shares
        return (f'{option}_logit' if is_share else option), is_share

    @nn.nowrap
    def _start(self, option: str) -> float:
        """Returns the value that a learnable option starts with."""
        return (as_neuron(self.neuron).options | dict(self.options))[option]


class LIF(SpikingNeurons):
    """`SpikingNeurons` whose decay and threshold are attributes, by the name that they had first.

    Attributes:
      decay: share of the membrane potential that is left one time step later.
      threshold: firing threshold.
      learnable_decay: make the decay a parameter of the layer.
      learnable_threshold: make the threshold a parameter of the layer.
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
    """Leaves the firing rate of ``spikes`` (B, T, ...) in the collection ``firing_rates``."""
    if module.is_initializing():
        return
    dtype = at_least_float32(spikes.dtype)
    rate = jnp.mean(spikes, axis=tuple(range(1, spikes.ndim)), dtype=dtype)
    for name, value in {'rate': rate, 'neurons': jnp.float32(math.prod(spikes.shape[2:]))}.items():
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
