"""The integrate-and-fire neuron (IF) of networks that are converted from ANNs.

A spike is as large as the neuron's threshold, not 1. The mean over time of a layer's output then
approximates the activation of the ANN, in the units of the ANN. Weights and biases stay unchanged,
and shortcuts and means need no special rule. Dividing by the thresholds gives the weight-normalized
form, see `snnjax.conversion.forms`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snnjax.neurons.firing import check_current
from snnjax.neurons.isolate import isolate
from snnjax.neurons.packed_words import at, bits
from snnjax.neurons.precision import at_least_float32

_STEPS_PER_WORD = 16


def integrate_and_fire(
    current: jax.Array,
    *,
    threshold: float | jax.Array = 1.0,
    initial: float | jax.Array = 0.0,
    drift: float = 0.0,
    gain: float = 1.0,
    lowest: float = -math.inf,
    soft_reset: bool = True,
    strict: bool = False,
    time_axis: int = 1,
) -> jax.Array:
    """Returns the spikes of neurons without a leak, each as large as the threshold.

    With ``x`` the current, ``v`` the membrane potential and ``theta`` the threshold::

        u[t] = v[t-1] + x[t] + drift * theta          v[-1] = initial * theta
        o[t] = 1 if u[t] >= theta else 0
        v[t] = u[t] - theta * o[t]                    or, without ``soft_reset``,
        v[t] = 0 if o[t] else u[t]
        v[t] = max(v[t], lowest * theta)
        output[t] = gain * theta * o[t]

    For a constant current ``x = z * theta`` with ``z`` from 0 to 1, a soft reset and ``initial=0``,
    a neuron fires ``floor(z * T)`` spikes in T steps.

    Args:
      current: the synaptic input, a float array of shape ``(..., T, ...)`` with ``T >= 1``.
      threshold: the threshold ``theta``, above 0; a number, or an array that broadcasts to one step
        of the current.
      initial: the membrane potential before the first step, as a share of the threshold; a number
        or an array, like ``threshold``.
      drift: the current that is added in each step, as a share of the threshold.
      gain: the size of a spike, in thresholds.
      lowest: the lower bound of the membrane potential, as a share of the threshold. It rectifies a
        current that changes over time at every step, like a ReLU, and not only on average over
        time.
      soft_reset: True to subtract the threshold after a spike, False to reset to 0.
      strict: True to fire only above the threshold.
      time_axis: the time axis of ``current``.

    Returns:
      0 or ``gain * threshold``, in the shape and dtype of ``current``. Membrane potentials are
      float32 (float64 for a float64 current).

    Raises:
      NotImplementedError: if the function is differentiated.
      TypeError: if ``current`` is not floating-point.
      ValueError: if ``time_axis`` is not an axis of ``current``, or there is no time step.
    """
    current = check_current(current, time_axis)
    options: dict[str, Any] = {'drift': drift, 'gain': gain, 'soft_reset': soft_reset}
    options |= {'lowest': lowest, 'strict': strict, 'time_axis': time_axis, 'threshold': threshold}
    start = start_potential(at(current, 0, time_axis % current.ndim), threshold, initial)
    return advance(current, start, **options)[0]


def start_potential(
    step: jax.Array, threshold: float | jax.Array, initial: float | jax.Array
) -> jax.Array:
    """Returns the membrane potential before the first step.

    Args:
      step: the current of one step; only its shape and dtype matter.
      threshold: the threshold of `integrate_and_fire`.
      initial: the membrane potential as a share of the threshold.
    """
    dtype = at_least_float32(step.dtype)
    start = jnp.asarray(initial, dtype) * jnp.asarray(threshold, dtype)
    return jnp.broadcast_to(start, step.shape)


def advance(
    current: jax.Array,
    potential: jax.Array,
    *,
    threshold: float | jax.Array = 1.0,
    initial: float | jax.Array = 0.0,
    drift: float = 0.0,
    gain: float = 1.0,
    lowest: float = -math.inf,
    soft_reset: bool = True,
    strict: bool = False,
    time_axis: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """Continues `integrate_and_fire` from a membrane potential; returns spikes and potential.

    All options are those of `integrate_and_fire`.

    Args:
      current: the synaptic input, a float array of shape ``(..., T, ...)`` with ``T >= 1``.
      potential: the membrane potential after the previous step, in the shape of one step.
      threshold: the threshold ``theta``, above 0.
      initial: an ignored value, since the potential is given.
      drift: the current that is added in each step, as a share of the threshold.
      gain: the size of a spike, in thresholds.
      lowest: the lower bound of the membrane potential, as a share of the threshold.
      soft_reset: True to subtract the threshold after a spike, False to reset to 0.
      strict: True to fire only above the threshold.
      time_axis: the time axis of ``current``.
    """
    del initial
    axis = time_axis % current.ndim
    dtype = at_least_float32(current.dtype)
    theta = jnp.asarray(threshold, dtype)
    run = isolate(_run, axis, bool(soft_reset), bool(strict), bool(drift), float(lowest))
    current = _without_gradient(current)
    words, left = run(current, potential.astype(dtype), theta, jnp.asarray(drift, dtype))
    total = current.shape[axis]
    spikes = jnp.concatenate([bits(word, axis, n) for word, n in _lengths(words, total)], axis)
    amplitude = jnp.reshape(gain * theta, (1,) * (potential.ndim - theta.ndim) + theta.shape)
    amplitude = jnp.expand_dims(amplitude, axis).astype(current.dtype)
    return spikes.astype(current.dtype) * amplitude, left


@jax.custom_jvp
def _without_gradient(current: jax.Array) -> jax.Array:
    return current


@_without_gradient.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    del primals, tangents
    raise NotImplementedError(
        'integrate_and_fire has no gradient: train the ANN that the network is converted from'
    )


def _run(
    axis: int,
    soft_reset: bool,
    strict: bool,
    drifts: bool,
    lowest: float,
    current: jax.Array,
    potential: jax.Array,
    theta: jax.Array,
    drift: jax.Array,
) -> tuple[tuple[jax.Array | None, jax.Array | None], jax.Array]:
    """Returns the bits of the spikes, as whole words (words, ...) and the rest, and ``v[T]``."""
    word = functools.partial(_run_word, axis, soft_reset, strict, drifts, lowest, theta, drift)
    total = current.shape[axis]
    whole, rest = divmod(total, _STEPS_PER_WORD)
    words = last = None
    if whole:
        chunks = lax.slice_in_dim(current, 0, whole * _STEPS_PER_WORD, axis=axis)
        shape = (*current.shape[:axis], whole, _STEPS_PER_WORD, *current.shape[axis + 1 :])
        chunks = jnp.moveaxis(chunks.reshape(shape), axis, 0)
        potential, words = lax.scan(word, potential, chunks, unroll=whole == 1)
    if rest:
        potential, last = word(potential, lax.slice_in_dim(current, total - rest, total, axis=axis))
    return (words, last), potential


def _run_word(
    axis: int,
    soft_reset: bool,
    strict: bool,
    drifts: bool,
    lowest: float,
    theta: jax.Array,
    drift: jax.Array,
    potential: jax.Array,
    current: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    word = jnp.zeros(potential.shape, jnp.uint16)
    for t in range(current.shape[axis]):
        potential = potential + at(current, t, axis).astype(potential.dtype)
        if drifts:
            potential += drift * theta
        fires = potential > theta if strict else potential >= theta
        word |= fires.astype(jnp.uint16) << t
        left = potential - theta if soft_reset else jnp.zeros_like(potential)
        potential = jnp.where(fires, left, potential)
        if lowest > -math.inf:
            potential = jnp.maximum(potential, lowest * theta)
    return potential, word


def _lengths(words: tuple[Any, Any], total: int) -> list[tuple[jax.Array, int]]:
    """Returns the words one by one, each with its number of steps."""
    whole, last = words
    listed = [(word, _STEPS_PER_WORD) for word in (whole if whole is not None else ())]
    return [*listed, *([(last, total % _STEPS_PER_WORD)] if last is not None else [])]
