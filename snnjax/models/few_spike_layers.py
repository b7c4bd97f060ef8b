"""Few-spike neurons in place of activations (Stöckl and Maass 2021).

A layer waits for its whole input, and each of its neurons then sends at most K spikes. The sum of
the spikes is a function of the input, so a network of these neurons is computed like an ANN. Spikes
are counted: the firing rate is the number of spikes per neuron divided by K.
"""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.models.activations import ACTIVATIONS, Activation
from snnjax.models.layers import record_rate
from snnjax.models.rollouts import delayed
from snnjax.neurons.few_spikes import (
    FITTED_SIGMOID,
    FITTED_SWISH,
    PUBLISHED_SIGMOID,
    PUBLISHED_SWISH,
    Coefficients,
    binary_coefficients,
    few_spikes,
)


class FewSpikes(Activation):
    """The base class of layers of few-spike neurons; each subclass is for one function."""

    replaces: ClassVar[str] = ''
    """The activation that the neurons replace, a key of `snnjax.models.activations.ACTIVATIONS`."""

    @property
    def num_spikes(self) -> int:
        """Returns the number of steps K, which is the maximum of spikes of a neuron per image."""
        raise NotImplementedError

    def fire(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the outputs, and the number of spikes of each neuron as int32."""
        raise NotImplementedError

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 1 or T, H, W, C) to the same shape and dtype."""
        y, counts = self.fire(x)
        record_rate(self, counts / jnp.float32(self.num_spikes))
        return delayed(self, y) if self.delay else y

    def value(self, x: jax.Array) -> jax.Array:
        """Returns the outputs, in the shape and dtype of ``x``."""
        return self.fire(x)[0]


class FewSpikeReLU(FewSpikes):
    """ReLUs of few-spike neurons, whose spikes are binary digits.

    Attributes:
      steps: the number of steps K.
      largest: the upper bound of the outputs, ``alpha``, which they never reach. The authors use 25
        in all layers.
      by_layer: True for a parameter ``largest`` of each layer.
    """

    replaces: ClassVar[str] = 'relu'

    steps: int = 10
    largest: float = 25.0
    by_layer: bool = False

    def __post_init__(self) -> None:
        binary_coefficients(self.largest, self.steps)
        super().__post_init__()

    @property
    def num_spikes(self) -> int:
        """Returns the number of steps K."""
        return self.steps

    @nn.compact
    def fire(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the outputs, and the number of spikes of each neuron as int32."""
        if not self.by_layer:
            return few_spikes(x, binary_coefficients(self.largest, self.steps))
        start = nn.initializers.constant(self.largest)
        largest = self.param('largest', start, (), jnp.float32)
        # The digits are those of ``x / largest``.
        y, counts = few_spikes(x / largest.astype(x.dtype), binary_coefficients(1.0, self.steps))
        return y * largest.astype(x.dtype), counts


class _Tabulated(FewSpikes):
    """A layer of few-spike neurons with tabulated coefficients.

    Attributes:
      published: True for the coefficients of the authors, False for those fitted here.
    """

    published: bool = False

    tables: ClassVar[tuple[Coefficients, Coefficients]]
    """The coefficients fitted here, and those of the authors."""

    @property
    def coefficients(self) -> Coefficients:
        """Returns the coefficients of all steps."""
        return self.tables[self.published]

    @property
    def num_spikes(self) -> int:
        """Returns the number of steps K."""
        return self.coefficients.num_steps

    def fire(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the outputs, and the number of spikes of each neuron as int32."""
        return few_spikes(x, self.coefficients)


class FewSpikeSwish(_Tabulated):
    """Swish with at most 16 spikes per neuron."""

    replaces: ClassVar[str] = 'swish'
    tables: ClassVar[tuple[Coefficients, Coefficients]] = (FITTED_SWISH, PUBLISHED_SWISH)


class FewSpikeSigmoid(_Tabulated):
    """Sigmoid with at most 12 spikes per neuron."""

    replaces: ClassVar[str] = 'sigmoid'
    tables: ClassVar[tuple[Coefficients, Coefficients]] = (FITTED_SIGMOID, PUBLISHED_SIGMOID)


FEW_SPIKES: dict[str, type[FewSpikes]] = {
    f'few_spikes_{kind.replaces}': kind for kind in (FewSpikeReLU, FewSpikeSwish, FewSpikeSigmoid)
}
"""Layers of few-spike neurons, by the name that networks take: ``activation=name``."""

ACTIVATIONS.update(FEW_SPIKES)
