"""Activations, which take the place of spiking neurons in an ANN.

An activation is a layer with the position and the name of a layer of neurons. A spiking network can
therefore take the weights of an ANN, and vice versa.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from snnjax.models.layers import record_rate
from snnjax.models.rollouts import delayed
from snnjax.neurons.precision import at_least_float32


class Activation(nn.Module, kw_only=True):
    """An elementwise function; its firing rate is the share of positive outputs.

    Fields of a subclass are options, ``create_model(..., activation_options={...})``.

    Attributes:
      delay: True to pass on the outputs one time step late (`snnjax.models.rollouts`). It is not an
        option of networks.
    """

    delay: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1 or T, H, W, C) to the same shape and dtype."""
        y = self.value(x)
        record_rate(self, y > 0)
        return delayed(self, y) if self.delay else y

    def value(self, x: jax.Array) -> jax.Array:
        """Returns the outputs, in the shape and dtype of ``x``."""
        raise NotImplementedError


class ReLU(Activation):
    """The positive part."""

    def value(self, x: jax.Array) -> jax.Array:
        """Returns ``max(x, 0)``."""
        return nn.relu(x)


class Swish(Activation):
    """The swish of EfficientNets, also called SiLU (Ramachandran et al. 2017)."""

    def value(self, x: jax.Array) -> jax.Array:
        """Returns ``x * sigmoid(x)``."""
        return nn.swish(x)


class Sigmoid(Activation):
    """The gate of squeeze-and-excitation."""

    def value(self, x: jax.Array) -> jax.Array:
        """Returns ``1 / (1 + exp(-x))``."""
        return nn.sigmoid(x)


class Clip(Activation):
    """A ReLU with an upper bound.

    Attributes:
      bound: the largest output, or its initial value if it is learned.
      learned: True for a parameter ``bound`` of the layer. Its gradient comes from the outputs at
        the bound.
    """

    bound: float = 4.0
    learned: bool = True

    def __post_init__(self) -> None:
        _check_above_zero('bound', self.bound)
        super().__post_init__()

    @nn.compact
    def value(self, x: jax.Array) -> jax.Array:
        """Returns ``min(max(x, 0), bound)``."""
        dtype = at_least_float32(x.dtype)
        bound = jnp.asarray(self.bound, dtype)
        if self.learned:
            start = nn.initializers.constant(self.bound)
            bound = self.param('bound', start, (), jnp.float32).astype(dtype)
        wide = x.astype(dtype)
        return jnp.where(wide < bound, nn.relu(wide), bound).astype(x.dtype)


class QCFS(Activation):
    """Quantization clip-floor-shift (Bu et al. 2022), with ``levels`` steps up to a learned bound::

        y = bound * clip(floor(x * levels / bound + 1/2) / levels, 0, 1)

    The derivative of the floor is taken as 1. With ``h = bound / (2 * levels)``, the derivative
    with respect to ``x`` is 1 for ``-h < x < bound - h`` and 0 elsewhere. The derivative with
    respect to the bound is ``(y - x) / bound`` in this range, 1 above it and 0 below it.

    Attributes:
      levels: the number of steps L; 4 for CIFAR-10 and 8 for ImageNet in the paper.
      bound: the initial value of the parameter ``bound`` of each layer. The authors recommend 4 or
        8, since from 1 the parameter may become negative.
    """

    levels: int = 4
    bound: float = 8.0

    def __post_init__(self) -> None:
        _check_above_zero('bound', self.bound)
        if not isinstance(self.levels, numbers.Integral) or self.levels < 1:
            raise ValueError(f'levels={self.levels!r} must be a whole number of at least 1')
        super().__post_init__()

    @nn.compact
    def value(self, x: jax.Array) -> jax.Array:
        """Returns the nearest multiple of ``bound / levels`` from 0 to the bound."""
        start = nn.initializers.constant(self.bound)
        dtype = at_least_float32(x.dtype)
        bound = self.param('bound', start, (), jnp.float32).astype(dtype)
        levels = float(self.levels)
        position = x.astype(dtype) * levels / bound + 0.5
        step = position + lax.stop_gradient(jnp.floor(position) - position)
        share = jnp.where(position < levels, jnp.where(position > 0, step / levels, 0.0), 1.0)
        return (bound * share).astype(x.dtype)


ACTIVATIONS: dict[str, type[Activation]] = {
    'relu': ReLU,
    'clip': Clip,
    'qcfs': QCFS,
    'swish': Swish,
    'sigmoid': Sigmoid,
}
"""The activations, by the name that networks take: ``create_model(..., activation=name)``."""


def activation_option_names(name: str) -> list[str]:
    """Returns the names of an activation's options."""
    fields = dataclasses.fields(cast(Any, ACTIVATIONS[name]))
    return [field.name for field in fields if field.name not in ('name', 'parent', 'delay')]


def _check_above_zero(option: str, value: Any) -> None:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(f'{option}={value!r} must be a number above 0')
