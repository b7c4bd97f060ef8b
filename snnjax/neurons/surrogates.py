"""Surrogate gradients, which replace the derivative of the spike in the backward pass.

The spike ``o = [u >= V_th]`` (eq. 2) has no useful derivative, so the backward pass uses a bump
``h(u - V_th)`` instead (eq. 3). Every surrogate here has unit integral and peak ``1 / width``. For
all of them ``width`` is the width of the rectangle with that peak.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def _save_distance(distance: jax.Array, width: float, strict: bool) -> jax.Array:
    del width, strict
    return distance


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A surrogate gradient, split into its forward and backward parts.

    A custom surrogate needs ``derivative``. It needs ``save`` only if the backward pass can do with
    less than the distance itself. Both must be elementwise and hashable functions (not a new lambda
    on every call), since the neuron is compiled for them.

    Attributes:
      derivative: a function ``(saved, width) -> h``, the surrogate derivative from the saved
        values.
      save: a function ``(distance, width, strict) -> saved`` of ``distance``, which is ``u - V_th``
        in the dtype of the membrane potential. A boolean result is packed into one bit per neuron
        and time step; other results are kept unchanged. The default saves the distance.
    """

    derivative: Callable[[jax.Array, float], jax.Array]
    save: Callable[[jax.Array, float, bool], jax.Array] = _save_distance


def _inside_window(distance: jax.Array, width: float, strict: bool) -> jax.Array:
    magnitude = jnp.abs(distance)
    return magnitude < width / 2 if strict else magnitude <= width / 2


def _rectangular(inside: jax.Array, width: float) -> jax.Array:
    return jnp.where(inside, 1 / width, 0.0)


def _triangular(distance: jax.Array, width: float) -> jax.Array:
    return jnp.maximum(0.0, 1 - jnp.abs(distance) / width) / width


def _sigmoid(distance: jax.Array, width: float) -> jax.Array:
    slope = 4 / width
    activation = jax.nn.sigmoid(slope * distance)
    return slope * activation * (1 - activation)


def _arctan(distance: jax.Array, width: float) -> jax.Array:
    return 1 / (width * (1 + (math.pi / width * distance) ** 2))


rectangular = Surrogate(_rectangular, save=_inside_window)
"""``1/a`` for ``|u - V_th| <= a/2`` with ``a = width`` (eq. 3); ``<`` if ``strict``."""

triangular = Surrogate(_triangular)
"""``max(0, 1 - |u - V_th| / width) / width``."""

sigmoid = Surrogate(_sigmoid)
"""The derivative of ``sigmoid(4 (u - V_th) / width)``."""

arctan = Surrogate(_arctan)
"""The derivative of ``arctan(pi (u - V_th) / width) / pi``; ``width = 2 / alpha`` for the
``alpha`` of Fang et al. 2021."""

SURROGATES: dict[str, Surrogate] = {
    'rectangular': rectangular,
    'triangular': triangular,
    'sigmoid': sigmoid,
    'arctan': arctan,
}
