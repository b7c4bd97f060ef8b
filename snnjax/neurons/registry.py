"""Neurons by name, and the properties of a neuron that networks rely on."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from snnjax.neurons.adaptive import adaptive_lif
from snnjax.neurons.amplitude import advance, integrate_and_fire, start_potential
from snnjax.neurons.integrate_and_fire import lif


@dataclasses.dataclass(frozen=True)
class Neuron:
    """A spiking neuron, and the options that training can change.

    `NEURONS` may also contain a plain function. Each of its options whose default is a float can
    then be learned, and ``decay`` is a share.

    Attributes:
      function: a function ``(current, *, time_axis=1, **options) -> spikes``, which returns the
        shape of the current. Networks pass it the options in its signature, by name.
      learnable: the options that can be JAX scalars.
      shares: the learnable options that stay between 0 and 1 because their logit is learned.
      rate_coded: True if spikes encode a rate, as in networks that are converted from ANNs. The
        size of these spikes depends on options and is not always 1.
      arrays: the options that can be an array that broadcasts to one step of the current.
      advance: a function ``(current, potential, *, time_axis=1, **options) -> (spikes,
        potential)``, which continues from a membrane potential; None if the neuron cannot.
      start: a function ``(step, threshold, initial) -> potential``, which returns the membrane
        potential before the first step from the current of one step; needed with ``advance``.
    """

    function: Callable[..., jax.Array]
    learnable: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    rate_coded: bool = False
    arrays: tuple[str, ...] = ()
    advance: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    start: Callable[..., jax.Array] | None = None

    def __call__(self, current: jax.Array, **options: Any) -> jax.Array:
        """Returns the spikes of a current."""
        return self.function(current, **options)

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """Returns the options by name with their defaults, `REQUIRED` if there is none."""
        first, *others = inspect.signature(self.function).parameters.values()
        del first
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {
            other.name: other.default
            for other in others
            if other.kind in named and other.name != 'time_axis'
        }


REQUIRED: Any = inspect.Parameter.empty
"""The default of an option without a default."""


NEURONS: dict[str, Neuron | Callable[..., jax.Array]] = {
    'lif': Neuron(lif, learnable=('decay', 'threshold'), shares=('decay',)),
    'adaptive_lif': Neuron(
        adaptive_lif,
        learnable=('decay', 'threshold', 'adaptation', 'adaptation_decay'),
        shares=('decay', 'adaptation_decay'),
    ),
    'integrate_and_fire': Neuron(
        integrate_and_fire,
        learnable=('threshold', 'initial'),
        rate_coded=True,
        arrays=('threshold', 'initial'),
        advance=advance,
        start=start_potential,
    ),
}
"""Neurons by the name that networks take, ``create_model(..., neuron=name)``."""


def as_neuron(neuron: Neuron | Callable[..., jax.Array]) -> Neuron:
    """Returns a neuron unchanged, or the `Neuron` of a plain function."""
    if isinstance(neuron, Neuron):
        return neuron
    options = Neuron(neuron).options
    learnable = tuple(name for name, default in options.items() if isinstance(default, float))
    return Neuron(neuron, learnable, shares=('decay',))
