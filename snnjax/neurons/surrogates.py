"""Surrogate gradients: what stands in for the derivative of the spike in the backward pass.

The spike ``o = [u >= V_th]`` (eq. 2) has no useful derivative, so the backward pass uses a bump
``h(u - V_th)`` instead (eq. 3). Every surrogate here has unit integral and peak ``1 / width``, so
``width`` means the same thing for all of them: the width of the rectangle with that peak.
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
    """A surrogate gradient, split where the forward pass hands over to the backward pass.

    To make your own, give ``derivative``; ``save`` is worth writing only when the backward pass can
    do with less than the distance itself. Both are elementwise and must be hashable functions
    (not fresh lambdas on every call), since the neuron is compiled for them.

    Attributes:
      derivative: ``(saved, width) -> h``, the surrogate derivative from what was saved.
      save: ``(distance, width, strict) -> saved``, where ``distance`` is ``u - V_th`` in the
        membrane's dtype. A boolean result is packed to one bit a neuron and time step; anything
        else is kept as it is. Default: the distance.
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
"""``1/a`` where ``|u - V_th| <= a/2`` with ``a = width`` (eq. 3); ``<`` when ``strict``."""

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
