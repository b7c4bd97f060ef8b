"""The iterative leaky integrate-and-fire neuron (LIF), with a gradient of its own.

Time exists only here: everything between two layers of neurons is one call over all time steps.

The backward pass needs two facts of each neuron and time step: did it fire, and was its membrane
potential inside the surrogate's window. Both are packed into one integer *word* a neuron, which is
all that the forward pass keeps. The spikes themselves are read back from the word too, so that the
current is read once and the membrane potential never leaves the loop.

The loop is a ``lax.scan`` over words of at most 16 steps; inside a word the steps are unrolled, so
that XLA fuses them into one pass. Up to 16 time steps there is one word, and no loop at all.

A derivative of the gradient needs to know how the spikes and the saved residuals depend on the
current, which the bits of a word cannot tell. It differentiates the equations as `_equations`
states them, which a gradient alone never runs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from snnjax.neurons.apart import apart
from snnjax.neurons.derivative import differentiated_as
from snnjax.neurons.precision import at_least_float32
from snnjax.neurons.surrogates import Surrogate, rectangular

_STEPS_PER_WORD = 16


def lif(
    current: jax.Array,
    *,
    decay: float | jax.Array = 0.25,
    threshold: float | jax.Array = 0.5,
    reset: float = 0.0,
    width: float = 1.0,
    strict: bool = False,
    detach_reset: bool = True,
    decay_input: bool = False,
    time_axis: int = 1,
    surrogate: Surrogate = rectangular,
) -> jax.Array:
    r"""Spikes of leaky integrate-and-fire neurons driven by a current over time.

    With ``x`` the current, ``u`` the membrane potential and ``o`` the spikes (eqs. 1 and 2)::

        u[t] = decay * v[t-1] + x[t]              v[-1] = 0
        o[t] = 1 if u[t] >= threshold else 0
        v[t] = reset if o[t] else u[t]            (hard reset)

    The gradient replaces ``do/du`` by the surrogate's bump (eq. 3), and flows back through the leak
    of the neurons that did not fire. The defaults are the paper's (table 6). With ``decay=1`` the
    neuron integrates and fires without a leak (IF); with ``decay_input`` and a learnable decay it
    is the parametric neuron (PLIF) of Fang et al. 2020, whose ``sigmoid(w)`` is ``1 - decay``.

    Membrane potentials are float32 (float64 for a float64 current) whatever the current's dtype,
    because firing is a comparison.

    The gradient can be differentiated again, in either mode: ``jax.hessian``, ``jax.grad`` of
    ``jax.grad`` and ``jax.jvp`` of ``jax.grad`` treat ``do/du`` as the surrogate and its own
    derivative. The spikes themselves take reverse mode only: ``jax.jvp`` of them is a TypeError.

    Args:
      current: synaptic input, shape ``(..., T, ...)`` with ``T >= 1``, any floating dtype.
      decay: share of the membrane potential that is left one time step later; ``tau_mem`` of eq. 1.
        A number is a constant; a JAX scalar is learnable, gets a gradient, and makes the backward
        pass keep float membrane potentials.
      threshold: firing threshold ``V_th``; likewise.
      reset: membrane potential after a spike, ``V_reset``.
      width: width of the surrogate's window, ``a`` of eq. 3; its peak is ``1 / width``.
      strict: fire at ``u > threshold`` and take the window as open, as the authors' released
        weights expect; the paper's own form is ``>=`` and a closed window.
      detach_reset: no gradient through the decision to reset. If false, the gradient also passes
        from ``v[t]`` through ``o[t]``, and float membrane potentials are kept for it.
      decay_input: charge with ``(1 - decay) * x[t]`` instead of ``x[t]``, so that a neuron that
        never fires tends to the mean of its current. The leak is towards 0, whatever ``reset``.
      time_axis: the axis of ``current`` that is time.
      surrogate: one of `snnjax.neurons.SURROGATES`, or your own.

    Returns:
      Spikes, 0 or 1, in the shape and dtype of ``current``.

    Raises:
      TypeError: if ``current`` is not floating, or a neuron constant is not a Python number (or,
        for ``decay`` and ``threshold``, a JAX scalar).
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
    learnable = False
    for name, value in {'decay': decay, 'threshold': threshold}.items():
        if isinstance(value, jax.Array) and value.shape == ():
            learnable = True
        elif not isinstance(value, numbers.Real):
            raise TypeError(f'{name} must be a number or a JAX scalar, got {value!r}')
    for name, value in {'reset': reset, 'width': width}.items():
        if not isinstance(value, numbers.Real):
            raise TypeError(f'{name} must be a Python number, got {type(value).__name__}')
    if width <= 0:
        raise ValueError(f'width must be positive, got {width}')
    neuron = _Neuron(
        reset=float(reset),
        width=float(width),
        strict=bool(strict),
        detach_reset=bool(detach_reset),
        decay_input=bool(decay_input),
        surrogate=surrogate,
        learnable=learnable,
    )
    dtype = at_least_float32(current.dtype)
    # Inside of `jax.shard_map` a product varies over the mesh axes that a factor varies over. So a
    # one that varies lets all three vary alike, and sums the scalars' gradients over these axes.
    one = jnp.ones_like(current, shape=(), dtype=dtype)
    decay, threshold = jnp.asarray(decay, dtype) * one, jnp.asarray(threshold, dtype) * one
    if learnable:
        one = jnp.ones_like(decay) * jnp.ones_like(threshold)
        current, decay, threshold = (
            current * one.astype(current.dtype),
            decay * one,
            threshold * one,
        )
    return _fire(current, decay, threshold, neuron, time_axis % current.ndim)


@dataclasses.dataclass(frozen=True)
class _Neuron:
    """What of `lif` is fixed when it is compiled; hashable."""

    reset: float
    width: float
    strict: bool
    detach_reset: bool
    decay_input: bool
    surrogate: Surrogate
    learnable: bool

    @property
    def keeps_potential(self) -> bool:
        """Whether the backward pass needs ``u`` itself: for the reset, or for learnable scalars."""
        return self.learnable or not self.detach_reset

    def charge(self, x: jax.Array, decay: jax.Array) -> jax.Array:
        """What the current adds to the membrane potential; linear, and so its own gradient."""
        return (1 - decay) * x if self.decay_input else x

    def spike(self, distance: jax.Array) -> jax.Array:
        return distance > 0 if self.strict else distance >= 0

    def surrogate_residual(self, distance: jax.Array) -> jax.Array:
        return self.surrogate.save(distance, self.width, self.strict)

    def residual(self, distance: jax.Array) -> jax.Array:
        """What the backward pass needs beside the spike."""
        return distance if self.keeps_potential else self.surrogate_residual(distance)

    def derivative(self, residual: jax.Array) -> jax.Array:
        saved = self.surrogate_residual(residual) if self.keeps_potential else residual
        return self.surrogate.derivative(saved, self.width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _fire(
    current: jax.Array, decay: jax.Array, threshold: jax.Array, neuron: _Neuron, axis: int
) -> jax.Array:
    return _fire_forward(current, decay, threshold, neuron, axis)[0]


def _fire_forward(
    current: jax.Array, decay: jax.Array, threshold: jax.Array, neuron: _Neuron, axis: int
) -> tuple[jax.Array, Any]:
    inputs = current, decay, threshold
    saved = apart(_encode, neuron, axis)(*map(lax.stop_gradient, inputs))
    # A name by which rematerialisation can keep it.
    saved = saved._replace(word=checkpoint_name(saved.word, 'spikes'))
    spikes = _join_time(_unpack(saved.word, axis, current), axis, current.shape[axis])
    equations = functools.partial(_equations, neuron, axis)
    spikes = differentiated_as(spikes, lambda *inputs: equations(*inputs)[0], *inputs)
    if saved.residuals is not None and jnp.issubdtype(saved.residuals.dtype, jnp.floating):
        residuals = differentiated_as(
            saved.residuals, lambda *inputs: _split_time(equations(*inputs)[1], axis), *inputs
        )
        saved = saved._replace(residuals=residuals)
    return spikes, (saved, decay, threshold)


def _unpack(word: jax.Array, axis: int, like: jax.Array) -> jax.Array:
    """Reads the spikes of a word's time steps, along an axis behind that of the words."""
    _, num_steps = _count_words(like.shape[axis])
    steps = jnp.arange(num_steps, dtype=word.dtype)
    steps = jnp.expand_dims(steps, [i for i in range(word.ndim + 1) if i != axis + 1])
    return ((jnp.expand_dims(word, axis + 1) >> steps) & 1).astype(like.dtype)


def _encode(
    neuron: _Neuron, axis: int, current: jax.Array, decay: jax.Array, threshold: jax.Array
) -> _Saved:
    """Runs the neurons through time; keeps what their spikes and gradients follow from."""
    chunks = _split_time(current, axis)
    potential = jnp.zeros_like(_at(current, 0, axis), dtype=at_least_float32(current.dtype))
    encode = functools.partial(_encode_word, neuron, axis, decay, threshold)
    _, saved = lax.scan(encode, potential, chunks, unroll=len(chunks) == 1)
    return saved


def _fire_backward(neuron: _Neuron, axis: int, residuals: Any, cotangent: jax.Array) -> tuple:
    saved, decay, threshold = residuals
    chunks = _split_time(cotangent, axis)
    decode = functools.partial(_differentiate_word, neuron, axis, decay, threshold)
    _, gradients = lax.scan(
        decode,
        jnp.zeros_like(saved.word[0], dtype=decay.dtype),
        (saved, chunks),
        reverse=True,
        unroll=len(chunks) == 1,
    )
    scalars = jnp.zeros_like(decay), jnp.zeros_like(threshold)
    if neuron.learnable:
        differentiate = apart(_differentiate_scalars, neuron, axis)
        scalars = differentiate(decay, threshold, saved.residuals, gradients)
    gradient = _join_time(gradients, axis, cotangent.shape[axis])
    return neuron.charge(gradient, decay).astype(cotangent.dtype), *scalars


_fire.defvjp(_fire_forward, _fire_backward)


def _equations(
    neuron: _Neuron, axis: int, current: jax.Array, decay: jax.Array, threshold: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """States equations 1 and 2 for JAX to differentiate; returns spikes and residuals."""
    left = jnp.zeros_like(_at(current, 0, axis), dtype=at_least_float32(current.dtype))
    one, zero = jnp.ones_like(left), jnp.zeros_like(left)
    spikes, residuals = [], []
    for t in range(current.shape[axis]):
        x = _at(current, t, axis).astype(left.dtype)
        potential = decay * left + neuron.charge(x, decay)
        distance = potential - threshold
        spikes.append(_where_fires(neuron, distance, one, zero).astype(current.dtype))
        residuals.append(neuron.residual(distance))
        decided = lax.stop_gradient(distance) if neuron.detach_reset else distance
        left = _where_fires(neuron, decided, neuron.reset * one, potential)
    return jnp.stack(spikes, axis), jnp.stack(residuals, axis)


def _where_fires(
    neuron: _Neuron, distance: jax.Array, fires: jax.Array, silent: jax.Array
) -> jax.Array:
    """Selects by the firing decision, whose derivatives are the surrogate and its derivatives.

    With ``e = distance - stop_gradient(distance)``, which is 0 with the derivative 1, the integral
    of the surrogate from ``distance - e`` to ``distance`` is 0 and has these derivatives. Gauss's
    rule of two points has them up to the fourth order.
    """
    at = lax.stop_gradient(distance)
    e = distance - at
    points = (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12))
    left, right = (
        neuron.surrogate.derivative(neuron.surrogate_residual(at + point * e), neuron.width)
        for point in points
    )
    integral = e * (0.5 * (left + right))
    return jnp.where(neuron.spike(distance), fires, silent) + integral * (fires - silent)


def _select(neuron: _Neuron, distance: jax.Array, fires: jax.Array, silent: jax.Array) -> jax.Array:
    """Is `_where_fires`, but computes only what is selected until it is differentiated."""
    selected = jnp.where(neuron.spike(distance), fires, silent)
    function = functools.partial(_where_fires, neuron)
    return differentiated_as(selected, function, distance, fires, silent)


class _Saved(NamedTuple):
    """What the forward pass keeps of one word's time steps.

    Attributes:
      word: bit ``t`` is the spike of step ``t``, bit ``num_steps + t`` its surrogate residual when
        that is boolean.
      residuals: the residuals that are not, stacked along the time axis, or None.
    """

    word: jax.Array
    residuals: jax.Array | None


def _encode_word(
    neuron: _Neuron,
    axis: int,
    decay: jax.Array,
    threshold: jax.Array,
    potential: jax.Array,
    current: jax.Array,
) -> tuple[jax.Array, _Saved]:
    """Runs the neurons through one word: eqs. 1 and 2 for each step of ``current``."""
    num_steps = current.shape[axis]
    word = jnp.zeros(potential.shape, _word_dtype(num_steps))
    unpacked = []
    for t in range(num_steps):
        x = _at(current, t, axis).astype(potential.dtype)
        potential = decay * potential + neuron.charge(x, decay)
        distance = potential - threshold
        spike = neuron.spike(distance)
        word |= spike.astype(word.dtype) << t
        residual = neuron.residual(distance)
        if residual.dtype == bool:
            word |= residual.astype(word.dtype) << (num_steps + t)
        else:
            unpacked.append(residual)
        potential = jnp.where(spike, neuron.reset, potential)
    return potential, _Saved(word, jnp.stack(unpacked, axis) if unpacked else None)


def _differentiate_word(
    neuron: _Neuron,
    axis: int,
    decay: jax.Array,
    threshold: jax.Array,
    carry: jax.Array,
    inputs: tuple[_Saved, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Pulls the spikes' cotangent back to the potentials ``u[t]`` of one word, last step first.

    The carry is the cotangent of ``v[t]``, the membrane potential that a step leaves behind.
    """
    saved, cotangent = inputs
    num_steps = cotangent.shape[axis]

    def residual_at(t: int) -> jax.Array:
        if saved.residuals is None:
            return ((saved.word >> (num_steps + t)) & 1).astype(bool)
        return _at(saved.residuals, t, axis)

    # The scalars' gradients follow from it, and are not rounded before.
    dtype = carry.dtype if neuron.learnable or neuron.decay_input else cotangent.dtype
    gradients = []
    for t in reversed(range(num_steps)):
        residual = residual_at(t)
        spike_cotangent = _at(cotangent, t, axis).astype(carry.dtype)
        if neuron.detach_reset:
            spike = ((saved.word >> t) & 1).astype(bool)
            passed = jnp.where(spike, 0.0, carry)
        else:
            spike_cotangent += carry * (neuron.reset - (residual + threshold))
            passed = _select(neuron, residual, jnp.zeros_like(carry), carry)
        gradient = spike_cotangent * neuron.derivative(residual) + passed
        gradients.append(gradient.astype(dtype))
        carry = decay * gradient
    return carry, jnp.stack(gradients[::-1], axis)


def _differentiate_scalars(
    neuron: _Neuron,
    axis: int,
    decay: jax.Array,
    threshold: jax.Array,
    distances: jax.Array,
    gradients: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gradients of decay and threshold, from those of the potentials ``u[t]`` of all words."""
    inverse_gain = 1 / (1 - decay)

    def add(carry: tuple, word: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        # Each neuron's shares, step by step: XLA for CPUs sums an axis number by number.
        of_decay, of_threshold, left, leak = carry
        for t in range(word[0].shape[axis]):
            distance, gradient = (_at(steps, t, axis) for steps in word)
            potential = distance + threshold
            leaked = left
            if neuron.decay_input:
                # Less the current, which follows from the potentials before and after it.
                leaked = left - inverse_gain * (potential - decay * left)
            of_decay += gradient * leaked
            # Of what reaches a potential, the step before has had what it passed on by its leak.
            of_threshold += gradient * (leak - 1)
            decided = lax.stop_gradient(distance) if neuron.detach_reset else distance
            reset, decayed = jnp.full_like(left, neuron.reset), decay * jnp.ones_like(left)
            left = _select(neuron, decided, reset, potential)
            leak = _select(neuron, decided, jnp.zeros_like(left), decayed)
        return (of_decay, of_threshold, left, leak), None

    zeros = jnp.zeros_like(_at(gradients[0], 0, axis))
    start = zeros, zeros, zeros, zeros
    sums, _ = lax.scan(add, start, (distances, gradients), unroll=len(gradients) == 1)
    return apart(jnp.sum)(sums[0]), apart(jnp.sum)(sums[1])


def _word_dtype(num_steps: int) -> Any:
    """The smallest unsigned integer that holds two bits a step."""
    return next(
        d for d in (jnp.uint8, jnp.uint16, jnp.uint32) if 2 * num_steps <= jnp.iinfo(d).bits
    )


def _at(array: jax.Array, t: int, axis: int) -> jax.Array:
    return lax.index_in_dim(array, t, axis, keepdims=False)


def _count_words(total: int) -> tuple[int, int]:
    """How many words T time steps take, and the steps of each."""
    num_words = math.ceil(total / _STEPS_PER_WORD)
    return num_words, math.ceil(total / num_words)


def _split_time(array: jax.Array, axis: int) -> jax.Array:
    """(..., T, ...) -> (words, ..., steps, ...), as few and as equal words as possible.

    Where T does not divide, zeros are added after the last step: they cannot act on earlier ones.
    """
    total = array.shape[axis]
    num_words, num_steps = _count_words(total)
    if num_words == 1:
        return jnp.expand_dims(array, 0)
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, num_words * num_steps - total)
    array = jnp.pad(array, padding)
    array = array.reshape(*array.shape[:axis], num_words, num_steps, *array.shape[axis + 1 :])
    return jnp.moveaxis(array, axis, 0)


def _join_time(chunks: jax.Array, axis: int, total: int) -> jax.Array:
    """(words, ..., steps, ...) -> (..., T, ...), the inverse of `_split_time`."""
    if len(chunks) == 1:
        return jnp.squeeze(chunks, 0)
    array = jnp.moveaxis(chunks, 0, axis)
    steps = math.prod(array.shape[axis : axis + 2])
    array = array.reshape(*array.shape[:axis], steps, *array.shape[axis + 2 :])
    return lax.slice_in_dim(array, 0, total, axis=axis)
