"""The iterative leaky integrate-and-fire neuron (LIF), with a custom gradient.

Only neurons loop over time: the layers between two layers of neurons run in one call over all time
steps.

The backward pass needs two facts about each neuron and time step: whether it fired, and whether its
membrane potential was inside the surrogate's window. Both are packed into one integer *word* per
neuron, which is all that the forward pass keeps. The spikes are read back from the word, too, so
the current is read once and the membrane potential never leaves the loop.

A derivative of the gradient depends on how the spikes and the saved residuals change with the
current, which the bits of a word do not contain. It differentiates the equations in `_equations`,
which a gradient alone never runs.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from snnjax.neurons.derivative import differentiated_as
from snnjax.neurons.firing import (
    Firing,
    check_current,
    check_numbers,
    find_learned,
    select,
    vary_alike,
    where_fires,
)
from snnjax.neurons.isolate import isolate
from snnjax.neurons.packed_words import Packed, Packer, at, join_time, split_time, unpack
from snnjax.neurons.precision import at_least_float32
from snnjax.neurons.surrogates import Surrogate, rectangular


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
    soft_reset: bool = False,
    time_axis: int = 1,
    surrogate: Surrogate = rectangular,
) -> jax.Array:
    """Returns the spikes of leaky integrate-and-fire neurons driven by a current over time.

    With ``x`` the current, ``u`` the membrane potential and ``o`` the spikes (eqs. 1 and 2)::

        u[t] = decay * v[t-1] + x[t]              v[-1] = 0
        o[t] = 1 if u[t] >= threshold else 0
        v[t] = reset if o[t] else u[t]            hard reset
        v[t] = u[t] - threshold * o[t]            with ``soft_reset``

    The gradient replaces ``do/du`` by the surrogate (eq. 3). It flows back through the leak of the
    neurons that did not fire, or of all neurons with a soft reset. The defaults are those of the
    paper (table 6). With ``decay=1`` the neuron integrates and fires without a leak (IF). With
    ``decay_input`` and a learnable decay it is the parametric neuron (PLIF) of Fang et al. 2020,
    whose ``sigmoid(w)`` is ``1 - decay``.

    Membrane potentials are float32 (float64 for a float64 current) for every dtype of the current,
    because firing is a comparison.

    The gradient can be differentiated again, in either mode: ``jax.hessian``, ``jax.grad`` of
    ``jax.grad`` and ``jax.jvp`` of ``jax.grad`` treat ``do/du`` as the surrogate with its own
    derivative. The spikes themselves support reverse mode only: ``jax.jvp`` of them raises a
    TypeError.

    Args:
      current: the synaptic input, a float array of shape ``(..., T, ...)`` with ``T >= 1``.
      decay: the share of the membrane potential that remains after one time step, ``tau_mem`` of
        eq. 1. A number is a constant. A JAX scalar is learnable: it gets a gradient, and the
        backward pass keeps float membrane potentials.
      threshold: the firing threshold ``V_th``; a number or a JAX scalar, like ``decay``.
      reset: the membrane potential after a spike, ``V_reset``.
      width: the width of the surrogate's window, ``a`` of eq. 3; its peak is ``1 / width``.
      strict: True to fire at ``u > threshold`` with an open window, as the authors' released
        weights expect; False for ``>=`` and a closed window, as in the paper.
      detach_reset: True to stop the gradient through the reset decision. If False, the gradient
        also passes from ``v[t]`` through ``o[t]``, and the backward pass keeps float membrane
        potentials.
      decay_input: True to charge with ``(1 - decay) * x[t]`` instead of ``x[t]``. A neuron that
        never fires then tends to the mean of its current. The leak is towards 0 for every
        ``reset``.
      soft_reset: True to subtract the threshold after a spike instead of starting from ``reset``.
        The excess over the threshold then counts for the next spike. The backward pass needs no
        more memory, even if the gradient passes through the reset.
      time_axis: the time axis of ``current``.
      surrogate: a value of `snnjax.neurons.SURROGATES`, or your own.

    Returns:
      The spikes, 0 or 1, in the shape and dtype of ``current``.

    Raises:
      TypeError: if ``current`` is not floating-point, or a constant of the neuron is neither a
        Python number nor, for ``decay`` and ``threshold``, a JAX scalar.
      ValueError: if ``time_axis`` is not an axis of ``current``, there is no time step, ``width``
        is not positive, or both ``reset`` and ``soft_reset`` are given.
    """
    current = check_current(current, time_axis)
    learned = find_learned({'decay': decay, 'threshold': threshold})
    check_numbers(reset=reset, width=width)
    if soft_reset and reset:
        raise ValueError(f'reset={reset} has no effect with soft_reset: set it to 0')
    neuron = _Neuron(
        reset=float(reset),
        width=float(width),
        strict=bool(strict),
        detach_reset=bool(detach_reset),
        decay_input=bool(decay_input),
        soft_reset=bool(soft_reset),
        surrogate=surrogate,
        learnable=bool(learned),
    )
    current, scalars = vary_alike(
        current, {'decay': decay, 'threshold': threshold}, learned=bool(learned)
    )
    return _fire(current, scalars['decay'], scalars['threshold'], neuron, time_axis % current.ndim)


@dataclasses.dataclass(frozen=True)
class _Neuron(Firing):
    """The options of `lif` that are fixed at compilation; hashable."""

    reset: float
    detach_reset: bool
    decay_input: bool
    soft_reset: bool
    learnable: bool

    @property
    def keeps_distance(self) -> bool:
        """Returns True if the backward pass needs ``u``, for the reset or for learnable scalars."""
        return self.learnable or not (self.detach_reset or self.soft_reset)

    def charge(self, x: jax.Array, decay: jax.Array) -> jax.Array:
        """Returns the charge that a current adds; being linear, it is its own gradient."""
        return (1 - decay) * x if self.decay_input else x

    def reset_potential(self, potential: jax.Array, threshold: jax.Array) -> jax.Array:
        """Returns the membrane potential after a spike."""
        return potential - threshold if self.soft_reset else jnp.full_like(potential, self.reset)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _fire(
    current: jax.Array, decay: jax.Array, threshold: jax.Array, neuron: _Neuron, axis: int
) -> jax.Array:
    return _fire_forward(current, decay, threshold, neuron, axis)[0]


def _fire_forward(
    current: jax.Array, decay: jax.Array, threshold: jax.Array, neuron: _Neuron, axis: int
) -> tuple[jax.Array, Any]:
    inputs = current, decay, threshold
    saved = isolate(_encode, neuron, axis)(*map(lax.stop_gradient, inputs))
    # Rematerialization policies keep the words by this name.
    saved = saved._replace(word=checkpoint_name(saved.word, 'spikes'))
    spikes = unpack(saved.word, axis, current)
    equations = functools.partial(_equations, neuron, axis)
    spikes = differentiated_as(spikes, lambda *inputs: equations(*inputs)[0], *inputs)
    if saved.residuals is not None and jnp.issubdtype(saved.residuals.dtype, jnp.floating):
        residuals = differentiated_as(
            saved.residuals, lambda *inputs: split_time(equations(*inputs)[1], axis), *inputs
        )
        saved = saved._replace(residuals=residuals)
    return spikes, (saved, decay, threshold)


def _encode(
    neuron: _Neuron, axis: int, current: jax.Array, decay: jax.Array, threshold: jax.Array
) -> Packed:
    """Runs the neurons over time; keeps the bits and residuals that the gradient needs."""
    chunks = split_time(current, axis)
    potential = jnp.zeros_like(at(current, 0, axis), dtype=at_least_float32(current.dtype))
    encode = functools.partial(_encode_word, neuron, axis, decay, threshold)
    _, saved = lax.scan(encode, potential, chunks, unroll=len(chunks) == 1)
    return saved


def _fire_backward(neuron: _Neuron, axis: int, residuals: Any, cotangent: jax.Array) -> tuple:
    saved, decay, threshold = residuals
    chunks = split_time(cotangent, axis)
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
        differentiate = isolate(_differentiate_scalars, neuron, axis)
        scalars = differentiate(decay, threshold, saved.residuals, gradients)
    gradient = join_time(gradients, axis, cotangent.shape[axis])
    return neuron.charge(gradient, decay).astype(cotangent.dtype), *scalars


_fire.defvjp(_fire_forward, _fire_backward)


def _equations(
    neuron: _Neuron, axis: int, current: jax.Array, decay: jax.Array, threshold: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Computes eqs. 1 and 2 in a form that JAX can differentiate; returns spikes and residuals."""
    left = jnp.zeros_like(at(current, 0, axis), dtype=at_least_float32(current.dtype))
    one, zero = jnp.ones_like(left), jnp.zeros_like(left)
    spikes, residuals = [], []
    for t in range(current.shape[axis]):
        x = at(current, t, axis).astype(left.dtype)
        potential = decay * left + neuron.charge(x, decay)
        distance = potential - threshold
        spikes.append(where_fires(neuron, distance, one, zero).astype(current.dtype))
        residuals.append(neuron.residual(distance))
        decided = lax.stop_gradient(distance) if neuron.detach_reset else distance
        left = where_fires(neuron, decided, neuron.reset_potential(potential, threshold), potential)
    return jnp.stack(spikes, axis), jnp.stack(residuals, axis)


def _encode_word(
    neuron: _Neuron,
    axis: int,
    decay: jax.Array,
    threshold: jax.Array,
    potential: jax.Array,
    current: jax.Array,
) -> tuple[jax.Array, Packed]:
    """Runs the neurons through one word: eqs. 1 and 2 for each step of ``current``."""
    num_steps = current.shape[axis]
    packer = Packer(potential.shape, num_steps, axis)
    for t in range(num_steps):
        x = at(current, t, axis).astype(potential.dtype)
        potential = decay * potential + neuron.charge(x, decay)
        distance = potential - threshold
        spike = neuron.spike(distance)
        packer.add(t, spike, neuron.residual(distance))
        potential = jnp.where(spike, neuron.reset_potential(potential, threshold), potential)
    return potential, packer.packed()


def _differentiate_word(
    neuron: _Neuron,
    axis: int,
    decay: jax.Array,
    threshold: jax.Array,
    carry: jax.Array,
    inputs: tuple[Packed, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Pulls the spikes' cotangent back to the potentials ``u[t]`` of one word, last step first.

    The carry is the cotangent of ``v[t]``, the membrane potential after step t.
    """
    saved, cotangent = inputs
    num_steps = cotangent.shape[axis]
    # Later computations need unrounded gradients of the potentials.
    dtype = carry.dtype if neuron.learnable or neuron.decay_input else cotangent.dtype
    gradients = []
    for t in reversed(range(num_steps)):
        residual = saved.residual(t, num_steps, axis)
        spike_cotangent = at(cotangent, t, axis).astype(carry.dtype)
        if neuron.soft_reset:
            passed = carry
            if not neuron.detach_reset:
                spike_cotangent -= carry * threshold
        elif neuron.detach_reset:
            passed = jnp.where(saved.spike(t), 0.0, carry)
        else:
            spike_cotangent += carry * (neuron.reset - (residual + threshold))
            passed = select(neuron, residual, jnp.zeros_like(carry), carry)
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
    """Returns the gradients of decay and threshold from those of the potentials ``u[t]``."""
    inverse_gain = 1 / (1 - decay)
    zeros = jnp.zeros_like(at(gradients[0], 0, axis))
    ones = jnp.ones_like(zeros)

    def add(carry: tuple, word: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        # Sums per neuron grow step by step, since XLA:CPU sums an axis one value at a time.
        of_decay, of_threshold, left, leak = carry
        for t in range(word[0].shape[axis]):
            distance, gradient = (at(steps, t, axis) for steps in word)
            potential = distance + threshold
            leaked = left
            if neuron.decay_input:
                # Subtracts the current, which follows from the potentials before and after it.
                leaked = left - inverse_gain * (potential - decay * left)
            of_decay += gradient * leaked
            # Excludes the share that the previous step already accounts for through its leak.
            of_threshold += gradient * (leak - 1)
            decided = lax.stop_gradient(distance) if neuron.detach_reset else distance
            reset, decayed = neuron.reset_potential(potential, threshold), decay * ones
            left = select(neuron, decided, reset, potential)
            leak = select(neuron, decided, zeros, decayed)
        return (of_decay, of_threshold, left, leak), None

    start = zeros, zeros, zeros, zeros
    sums, _ = lax.scan(add, start, (distances, gradients), unroll=len(gradients) == 1)
    return isolate(jnp.sum)(sums[0]), isolate(jnp.sum)(sums[1])
