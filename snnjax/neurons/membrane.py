"""The membrane potentials of neurons, which `snnjax.neurons.lif` does not return."""

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
    """Returns the potential ``u[t]`` that decides if a neuron fires, see `snnjax.neurons.lif`.

    The function is for analysis, not for training, since it has no surrogate gradient.

    Args:
      current: the synaptic input, a float array of shape ``(..., T, ...)``.
      decay: the share of the membrane potential that remains after one time step.
      threshold: the firing threshold.
      reset: the membrane potential after a spike.
      strict: True to fire only above the threshold.
      decay_input: True to charge with ``(1 - decay) * x[t]``.
      soft_reset: True to subtract the threshold after a spike.
      time_axis: the time axis of ``current``.

    Returns:
      A float32 or float64 array in the shape of ``current``.
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
