"""The firing decision with its surrogate derivative, and checks of the arguments of neurons."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from snnjax.neurons.derivative import differentiated_as
from snnjax.neurons.precision import at_least_float32
from snnjax.neurons.surrogates import Surrogate


@dataclasses.dataclass(frozen=True)
class Firing:
    """The firing decision, a function of the distance from the threshold; hashable.

    Attributes:
      width: the width of the surrogate's window.
      strict: True to fire only above the threshold, with an open window.
      surrogate: the derivative of the decision.
    """

    width: float
    strict: bool
    surrogate: Surrogate

    @property
    def keeps_distance(self) -> bool:
        """Returns True if the backward pass needs the distance itself."""
        return False

    def spike(self, distance: jax.Array) -> jax.Array:
        """Returns the spikes, as booleans."""
        return distance > 0 if self.strict else distance >= 0

    def surrogate_residual(self, distance: jax.Array) -> jax.Array:
        """Returns the values that the surrogate saves."""
        return self.surrogate.save(distance, self.width, self.strict)

    def residual(self, distance: jax.Array) -> jax.Array:
        """Returns the values that the backward pass needs in addition to the spike."""
        return distance if self.keeps_distance else self.surrogate_residual(distance)

    def derivative(self, residual: jax.Array) -> jax.Array:
        """Returns the surrogate derivative from the values of `residual`."""
        saved = self.surrogate_residual(residual) if self.keeps_distance else residual
        return self.surrogate.derivative(saved, self.width)


def where_fires(
    firing: Firing, distance: jax.Array, fires: jax.Array, silent: jax.Array
) -> jax.Array:
    """Selects by the firing decision, with the surrogate and its derivatives as derivatives.

    The value ``e = distance - stop_gradient(distance)`` is 0 and has the derivative 1. The integral
    of the surrogate from ``distance - e`` to ``distance`` is therefore 0 and has the surrogate and
    its derivatives as derivatives. Gauss's rule with two points gives them up to the fourth order.
    """
    at = lax.stop_gradient(distance)
    e = distance - at
    points = (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12))
    left, right = (
        firing.surrogate.derivative(firing.surrogate_residual(at + point * e), firing.width)
        for point in points
    )
    integral = e * (0.5 * (left + right))
    return jnp.where(firing.spike(distance), fires, silent) + integral * (fires - silent)


def select(firing: Firing, distance: jax.Array, fires: jax.Array, silent: jax.Array) -> jax.Array:
    """Computes `where_fires`, but only the selected values until it is differentiated."""
    selected = jnp.where(firing.spike(distance), fires, silent)
    return differentiated_as(
        selected, functools.partial(where_fires, firing), distance, fires, silent
    )


def check_current(current: jax.Array, time_axis: int) -> jax.Array:
    """Returns a current as an array.

    Raises:
      TypeError: if it is not floating-point.
      ValueError: if ``time_axis`` is not one of its axes, or there is no time step.
    """
    current = jnp.asarray(current)
    if not jnp.issubdtype(current.dtype, jnp.floating):
        raise TypeError(
            f'current must be floating-point, got {current.dtype}: cast it, e.g. to float32'
        )
    if not -current.ndim <= time_axis < current.ndim:
        raise ValueError(
            f'time_axis={time_axis} is not an axis of a current of shape {current.shape}'
        )
    if current.shape[time_axis] == 0:
        raise ValueError(f'current of shape {current.shape} has no time step on axis {time_axis}')
    return current


def check_numbers(*, width: float, **values: float) -> None:
    """Checks constants that are compiled into a neuron.

    Raises:
      TypeError: if a constant is not a Python number.
      ValueError: if ``width`` is not positive.
    """
    for name, value in {**values, 'width': width}.items():
        if not isinstance(value, numbers.Real):
            raise TypeError(f'{name} must be a Python number, got {type(value).__name__}')
    if width <= 0:
        raise ValueError(f'width must be positive, got {width}')


def find_learned(values: Mapping[str, float | jax.Array]) -> frozenset[str]:
    """Returns the names of the values that are JAX scalars, which get a gradient.

    Raises:
      TypeError: if a value is neither a number nor a JAX scalar.
    """
    learned = set()
    for name, value in values.items():
        if isinstance(value, jax.Array) and value.shape == ():
            learned.add(name)
        elif not isinstance(value, numbers.Real):
            raise TypeError(f'{name} must be a number or a JAX scalar, got {value!r}')
    return frozenset(learned)


def vary_alike(
    current: jax.Array, scalars: Mapping[str, float | jax.Array], *, learned: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns a current and scalars, in the dtype of potentials, that vary over the same mesh axes.

    Inside of `jax.shard_map`, a product varies over all mesh axes over which its factors vary.
    Multiplying by a one that varies makes all values vary alike, and sums the gradients of the
    scalars over these axes.
    """
    dtype = at_least_float32(current.dtype)
    one = jnp.ones_like(current, shape=(), dtype=dtype)
    arrays = {name: jnp.asarray(value, dtype) * one for name, value in scalars.items()}
    if learned:
        for value in arrays.values():
            one *= jnp.ones_like(value)
        current = current * one.astype(current.dtype)
        arrays = {name: value * one for name, value in arrays.items()}
    return current, arrays
