"""The iterative leaky integrate-and-fire neuron (LIF), with a gradient of its own.

Time exists only here: everything between two layers of neurons is one call over all time steps.

The backward pass needs two facts of each neuron and time step: did it fire, and was its membrane
potential inside the surrogate's window. Both are packed into one integer *word* a neuron, which is
all that the forward pass keeps. The spikes themselves are read back from the word too, so that the
current is read once and the membrane potential never leaves the loop.

The loop is a ``lax.scan`` over words of at most 16 steps; inside a word the steps are unrolled, so
that XLA fuses them into one pass. Up to 16 time steps there is one word, and no loop at all.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snnjax.neurons.surrogates import Surrogate, rectangular

_STEPS_PER_WORD = 16


def lif(
    current: jax.Array,
    *,
    decay: float = 0.25,
    threshold: float = 0.5,
    reset: float = 0.0,
    width: float = 1.0,
    strict: bool = False,
    detach_reset: bool = True,
    time_axis: int = 1,
    surrogate: Surrogate = rectangular,
) -> jax.Array:
    r"""Spikes of leaky integrate-and-fire neurons driven by a current over time.

    With ``x`` the current, ``u`` the membrane potential and ``o`` the spikes (eqs. 1 and 2)::

        u[t] = decay * v[t-1] + x[t]              v[-1] = 0
        o[t] = 1 if u[t] >= threshold else 0
        v[t] = reset if o[t] else u[t]            (hard reset)

    The gradient replaces ``do/du`` by the surrogate's bump (eq. 3), and flows back through the leak
    of the neurons that did not fire. The defaults are the paper's (table 6).

    Membrane potentials are float32 (float64 for a float64 current) whatever the current's dtype,
    because firing is a comparison. Reverse-mode differentiation only.

    Args:
      current: synaptic input, shape ``(..., T, ...)`` with ``T >= 1``, any floating dtype.
      decay: share of the membrane potential that is left one time step later; ``tau_mem`` of eq. 1.
      threshold: firing threshold ``V_th``.
      reset: membrane potential after a spike, ``V_reset``.
      width: width of the surrogate's window, ``a`` of eq. 3; its peak is ``1 / width``.
      strict: fire at ``u > threshold`` and take the window as open, as the authors' released
        weights expect; the paper's own form is ``>=`` and a closed window.
      detach_reset: no gradient through the decision to reset. If false, the gradient also passes
        from ``v[t]`` through ``o[t]``, and float membrane potentials are kept for it.
      time_axis: the axis of ``current`` that is time.
      surrogate: one of `snnjax.neurons.SURROGATES`, or your own.

    Returns:
      Spikes, 0 or 1, in the shape and dtype of ``current``.

    Raises:
      TypeError: if ``current`` is not floating, or a neuron constant is not a Python number.
      ValueError: if ``time_axis`` is not an axis of ``current``, there is no time step, or
        ``width`` is not positive.
    """
    current = jnp.asarray(current)
    if not jnp.issubdtype(current.dtype, jnp.floating):
        raise TypeError(f'current must be floating, got {current.dtype}: cast it, e.g. to float32')
    if not -current.ndim <= time_axis < current.ndim:
        raise ValueError(f'time_axis={time_axis} is not an axis of a current of {current.shape}')
    if current.shape[time_axis] == 0:
        raise ValueError(f'current of shape {current.shape} has no time step on axis {time_axis}')
    constants = {'decay': decay, 'threshold': threshold, 'reset': reset, 'width': width}
    for name, value in constants.items():
        if not isinstance(value, numbers.Real):
            raise TypeError(f'{name} must be a Python number, got {type(value).__name__}')
    if width <= 0:
        raise ValueError(f'width must be positive, got {width}')
    neuron = _Neuron(
        **{name: float(value) for name, value in constants.items()},
        strict=bool(strict),
        detach_reset=bool(detach_reset),
        surrogate=surrogate,
    )
    return _fire(current, neuron, time_axis % current.ndim)


@dataclasses.dataclass(frozen=True)
class _Neuron:
    """The constants of `lif`, hashable, so that they are part of the compiled function."""

    decay: float
    threshold: float
    reset: float
    width: float
    strict: bool
    detach_reset: bool
    surrogate: Surrogate

    def spike(self, distance: jax.Array) -> jax.Array:
        return distance > 0 if self.strict else distance >= 0

    def surrogate_residual(self, distance: jax.Array) -> jax.Array:
        return self.surrogate.save(distance, self.width, self.strict)

    def residual(self, distance: jax.Array) -> jax.Array:
        """What the backward pass needs beside the spike; the reset's gradient needs ``u``."""
        return self.surrogate_residual(distance) if self.detach_reset else distance

    def derivative(self, residual: jax.Array) -> jax.Array:
        saved = residual if self.detach_reset else self.surrogate_residual(residual)
        return self.surrogate.derivative(saved, self.width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _fire(current: jax.Array, neuron: _Neuron, axis: int) -> jax.Array:
    return _fire_forward(current, neuron, axis)[0]


def _fire_forward(current: jax.Array, neuron: _Neuron, axis: int) -> tuple[jax.Array, Any]:
    chunks = _split_time(current, axis)
    num_steps = chunks.shape[axis + 1]
    potential = jnp.zeros(
        current.shape[:axis] + current.shape[axis + 1 :],
        jnp.promote_types(current.dtype, jnp.float32),
    )
    encode = functools.partial(_encode_word, neuron, axis)
    _, (words, residuals) = lax.scan(encode, potential, chunks, unroll=len(chunks) == 1)
    steps = jnp.arange(num_steps, dtype=words.dtype)
    steps = steps.reshape((num_steps,) + (1,) * (words.ndim - 1 - axis))
    spikes = (jnp.expand_dims(words, axis + 1) >> steps) & 1
    spikes = _join_time(spikes.astype(current.dtype), axis, current.shape[axis])
    return spikes, (words, residuals)


def _fire_backward(neuron: _Neuron, axis: int, saved: Any, cotangent: jax.Array) -> tuple:
    words, residuals = saved
    chunks = _split_time(cotangent, axis)
    potential_cotangent = jnp.zeros(
        words.shape[1:], jnp.promote_types(cotangent.dtype, jnp.float32)
    )
    decode = functools.partial(_differentiate_word, neuron, axis)
    _, gradient = lax.scan(
        decode,
        potential_cotangent,
        (words, residuals, chunks),
        reverse=True,
        unroll=len(chunks) == 1,
    )
    return (_join_time(gradient, axis, cotangent.shape[axis]),)


_fire.defvjp(_fire_forward, _fire_backward)


def _encode_word(
    neuron: _Neuron, axis: int, potential: jax.Array, current: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None]]:
    """Runs the neurons through one word: eqs. 1 and 2 for each step of ``current``.

    Bit ``t`` of the word is the spike of step ``t``; bit ``num_steps + t`` is its surrogate
    residual when that is boolean. Other residuals are stacked along ``axis``.
    """
    num_steps = current.shape[axis]
    word = jnp.zeros(potential.shape, _word_dtype(num_steps))
    unpacked = []
    for t in range(num_steps):
        potential = neuron.decay * potential + _at(current, t, axis).astype(potential.dtype)
        distance = potential - neuron.threshold
        spike = neuron.spike(distance)
        word |= spike.astype(word.dtype) << t
        residual = neuron.residual(distance)
        if residual.dtype == bool:
            word |= residual.astype(word.dtype) << (num_steps + t)
        else:
            unpacked.append(residual)
        potential = jnp.where(spike, neuron.reset, potential)
    return potential, (word, jnp.stack(unpacked, axis) if unpacked else None)


def _differentiate_word(
    neuron: _Neuron,
    axis: int,
    potential_cotangent: jax.Array,
    saved: tuple[jax.Array, jax.Array | None, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Pulls the spikes' cotangent back through one word, last step first.

    The carry is the cotangent of ``v[t]``, the membrane potential that a step leaves behind.
    """
    word, residuals, cotangent = saved
    num_steps = cotangent.shape[axis]
    gradients = []
    for t in reversed(range(num_steps)):
        spike = ((word >> t) & 1).astype(bool)
        if residuals is None:
            residual = ((word >> (num_steps + t)) & 1).astype(bool)
        else:
            residual = _at(residuals, t, axis)
        spike_cotangent = _at(cotangent, t, axis).astype(potential_cotangent.dtype)
        if not neuron.detach_reset:
            potential = residual + neuron.threshold
            spike_cotangent += potential_cotangent * (neuron.reset - potential)
        gradient = spike_cotangent * neuron.derivative(residual)
        gradient += jnp.where(spike, 0.0, potential_cotangent)
        gradients.append(gradient.astype(cotangent.dtype))
        potential_cotangent = neuron.decay * gradient
    return potential_cotangent, jnp.stack(gradients[::-1], axis)


def _word_dtype(num_steps: int) -> Any:
    """The smallest unsigned integer that holds two bits a step."""
    return next(
        d for d in (jnp.uint8, jnp.uint16, jnp.uint32) if 2 * num_steps <= jnp.iinfo(d).bits
    )


def _at(array: jax.Array, t: int, axis: int) -> jax.Array:
    return lax.index_in_dim(array, t, axis, keepdims=False)


def _split_time(array: jax.Array, axis: int) -> jax.Array:
    """(..., T, ...) -> (words, ..., steps, ...), as few and as equal words as possible.

    Where T does not divide, zeros are added after the last step: they cannot act on earlier ones.
    """
    total = array.shape[axis]
    num_words = math.ceil(total / _STEPS_PER_WORD)
    num_steps = math.ceil(total / num_words)
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, num_words * num_steps - total)
    array = jnp.pad(array, padding)
    array = array.reshape(*array.shape[:axis], num_words, num_steps, *array.shape[axis + 1 :])
    return jnp.moveaxis(array, axis, 0)


def _join_time(chunks: jax.Array, axis: int, total: int) -> jax.Array:
    """(words, ..., steps, ...) -> (..., T, ...), the inverse of `_split_time`."""
    array = jnp.moveaxis(chunks, 0, axis)
    array = array.reshape(*array.shape[:axis], -1, *array.shape[axis + 2 :])
    return lax.slice_in_dim(array, 0, total, axis=axis)
