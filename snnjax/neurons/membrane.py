"""The membrane potential of the neurons, which `snnjax.neurons.lif` keeps to itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from snnjax.neurons.precision import at_least_float32


def membrane_potential(
    current: jax.Array,
    *,
    decay: float | jax.Array = 0.25,
    threshold: float | jax.Array = 0.5,
    reset: float = 0.0,
    strict: bool = False,
    decay_input: bool = False,
    soft_reset: bool = False,
    time_axis: int = 1,
) -> jax.Array:
    """Returns the potential ``u[t]`` that decides whether a neuron fires, see `snnjax.neurons.lif`.

    To look at, not to train through: it has no surrogate gradient.

    Args:
      current: synaptic input, shape ``(..., T, ...)``, floating.
      decay: share of the potential that is left one time step later.
      threshold: for firing.
      reset: potential after a spike.
      strict: fire above the threshold, not at it.
      decay_input: charge with ``(1 - decay) * x[t]``.
      soft_reset: subtract the threshold after a spike.
      time_axis: the axis of ``current`` that is time.

    Returns:
      In the shape of ``current``, float32 or float64.
    """
    dtype = at_least_float32(current.dtype)
    steps = jnp.moveaxis(current.astype(dtype), time_axis, 0)
    gain = 1 - decay if decay_input else 1.0

    def advance(left: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        u = decay * left + gain * x
        fires = u > threshold if strict else u >= threshold
        return jnp.where(fires, u - threshold if soft_reset else reset, u), u

    _, potentials = jax.lax.scan(advance, jnp.zeros_like(steps[0]), steps)
    return jnp.moveaxis(potentials, 0, time_axis)
