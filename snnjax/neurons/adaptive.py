"""The leaky neuron with an adaptive threshold (ALIF), with a custom packed gradient.

The adaptation is a linear filter of the spikes, so the backward pass computes it again from their
bits. Float membrane potentials are kept only for a learned decay or a gradient through the reset.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

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


def adaptive_lif(
    current: jax.Array,
    *,
    decay: float | jax.Array = 0.25,
    threshold: float | jax.Array = 0.5,
    adaptation: float | jax.Array = 0.1,
    adaptation_decay: float | jax.Array = 0.9,
    reset: float = 0.0,
    width: float = 1.0,
    strict: bool = False,
    detach_reset: bool = True,
    decay_input: bool = False,
    time_axis: int = 1,
    surrogate: Surrogate = rectangular,
) -> jax.Array:
    """Returns the spikes of leaky neurons whose threshold rises with each of their spikes.

    With ``x`` the current, ``u`` the membrane potential, ``o`` the spikes and ``a`` the adaptation
    (Bellec et al. 2018, Yin et al. 2021)::

        u[t] = decay * v[t-1] + x[t]                                    v[-1] = 0
        o[t] = 1 if u[t] >= threshold + adaptation * a[t-1] else 0      a[-1] = 0
        a[t] = adaptation_decay * a[t-1] + o[t]
        v[t] = reset if o[t] else u[t]

    The equations of these papers filter ``(1 - adaptation_decay) * o[t]``; their factor ``beta`` is
    ``adaptation / (1 - adaptation_decay)`` here. With ``adaptation=0`` the neuron is
    `snnjax.neurons.lif`.

    The surrogate gradient replaces the derivative of ``o`` with respect to ``u``, and its negative
    the derivative with respect to the threshold. The gradient flows to earlier steps through the
    leak and through the adaptation. The adaptation decays slowly, which gives the neuron a longer
    memory.

    The backward pass keeps two bits per neuron and step. If ``adaptation`` or ``adaptation_decay``
    is learned, it also keeps the spikes, which the next layer keeps anyway. If ``decay`` is learned
    or the gradient passes through the reset, it also keeps float membrane potentials. The gradient
    can be differentiated again.

    Args:
      current: the synaptic input, a float array of shape ``(..., T, ...)`` with ``T >= 1``.
      decay: the share of the membrane potential that remains after one time step. A number is a
        constant; a JAX scalar is learnable and gets a gradient.
      threshold: the firing threshold of a neuron that has not fired yet; a number or a JAX scalar,
        like ``decay``.
      adaptation: the rise of the threshold after a spike; a number or a JAX scalar, like ``decay``.
      adaptation_decay: the share of the rise that remains after one time step; a number or a JAX
        scalar, like ``decay``.
      reset: the membrane potential after a spike.
      width: the width of the surrogate's window.
      strict: True to fire only above the threshold, with an open window.
      detach_reset: True to stop the gradient through the reset decision.
      decay_input: True to charge with ``(1 - decay) * x[t]`` instead of ``x[t]``.
      time_axis: the time axis of ``current``.
      surrogate: a value of `snnjax.neurons.SURROGATES`, or your own.

    Returns:
      The spikes, 0 or 1, in the shape and dtype of ``current``. Membrane potentials and adaptation
      are computed in float32 (float64 for a float64 current).

    Raises:
      TypeError: if ``current`` is not floating-point, or a constant of the neuron is neither a
        Python number nor, if it can be learned, a JAX scalar.
      ValueError: if ``time_axis`` is not an axis of ``current``, there is no time step, or
        ``width`` is not positive.
    """
    current = check_current(current, time_axis)
    scalars = {
        'decay': decay,
        'threshold': threshold,
        'adaptation': adaptation,
        'adaptation_decay': adaptation_decay,
    }
    learned = find_learned(scalars)
    check_numbers(reset=reset, width=width)
    neuron = _Neuron(
        width=float(width),
        strict=bool(strict),
        surrogate=surrogate,
        reset=float(reset),
        detach_reset=bool(detach_reset),
        decay_input=bool(decay_input),
        learned=learned,
    )
    current, arrays = vary_alike(current, scalars, learned=bool(learned))
    return _fire(current, _Scalars(**arrays), neuron, time_axis % current.ndim)


class _Scalars(NamedTuple):
    """The constants of `adaptive_lif` that can be learned, as arrays."""

    decay: jax.Array
    threshold: jax.Array
    adaptation: jax.Array
    adaptation_decay: jax.Array


@dataclasses.dataclass(frozen=True)
class _Neuron(Firing):
    """The options of `adaptive_lif` that are fixed at compilation; hashable."""

    reset: float
    detach_reset: bool
    decay_input: bool
    learned: frozenset[str]

    @property
    def keeps_distance(self) -> bool:
        """Returns True if the backward pass needs the membrane potential itself."""
        return 'decay' in self.learned or not self.detach_reset

    @property
    def keeps_spikes(self) -> bool:
        """Returns True if the backward pass needs the adaptation, and so differentiable spikes.

        Bits are enough for a gradient, but have no derivative for a second differentiation.
        """
        return self.keeps_distance or bool(self.learned & {'adaptation', 'adaptation_decay'})

    def charge(self, x: jax.Array, decay: jax.Array) -> jax.Array:
        """Returns the charge that a current adds; being linear, it is its own gradient."""
        return (1 - decay) * x if self.decay_input else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _fire(current: jax.Array, scalars: _Scalars, neuron: _Neuron, axis: int) -> jax.Array:
    return _fire_forward(current, scalars, neuron, axis)[0]


def _fire_forward(
    current: jax.Array, scalars: _Scalars, neuron: _Neuron, axis: int
) -> tuple[jax.Array, Any]:
    inputs = current, *scalars
    saved = isolate(_encode, neuron, axis)(*map(lax.stop_gradient, inputs))
    # Rematerialization policies keep the words by this name.
    saved = saved._replace(word=checkpoint_name(saved.word, 'spikes'))
    equations = functools.partial(_equations, neuron, axis)
    spikes = differentiated_as(
        unpack(saved.word, axis, current), lambda *inputs: equations(*inputs)[0], *inputs
    )
    if saved.residuals is not None and jnp.issubdtype(saved.residuals.dtype, jnp.floating):
        residuals = differentiated_as(
            saved.residuals, lambda *inputs: split_time(equations(*inputs)[1], axis), *inputs
        )
        saved = saved._replace(residuals=residuals)
    return spikes, (saved, spikes if neuron.keeps_spikes else None, scalars)


def _equations(
    neuron: _Neuron, axis: int, current: jax.Array, *values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Computes the equations in a form that JAX can differentiate; returns spikes and residuals."""
    scalars = _Scalars(*values)
    left = jnp.zeros_like(at(current, 0, axis), dtype=at_least_float32(current.dtype))
    one, zero = jnp.ones_like(left), jnp.zeros_like(left)
    trace = zero
    spikes, residuals = [], []
    for t in range(current.shape[axis]):
        x = at(current, t, axis).astype(left.dtype)
        potential = scalars.decay * left + neuron.charge(x, scalars.decay)
        distance = potential - (scalars.threshold + scalars.adaptation * trace)
        spike = where_fires(neuron, distance, one, zero)
        trace = scalars.adaptation_decay * trace + spike
        spikes.append(spike.astype(current.dtype))
        residuals.append(neuron.residual(distance))
        decided = lax.stop_gradient(distance) if neuron.detach_reset else distance
        left = where_fires(neuron, decided, neuron.reset * one, potential)
    return jnp.stack(spikes, axis), jnp.stack(residuals, axis)


def _encode(neuron: _Neuron, axis: int, current: jax.Array, *values: jax.Array) -> Packed:
    """Runs the neurons over time; keeps the bits and residuals that the gradient needs."""
    scalars = _Scalars(*values)
    zeros = jnp.zeros_like(at(current, 0, axis), dtype=at_least_float32(current.dtype))

    def encode(
        carry: tuple[jax.Array, jax.Array], current: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], Packed]:
        potential, trace = carry
        num_steps = current.shape[axis]
        packer = Packer(potential.shape, num_steps, axis)
        for t in range(num_steps):
            x = at(current, t, axis).astype(potential.dtype)
            potential = scalars.decay * potential + neuron.charge(x, scalars.decay)
            distance = potential - (scalars.threshold + scalars.adaptation * trace)
            spike = neuron.spike(distance)
            packer.add(t, spike, neuron.residual(distance))
            potential = jnp.where(spike, neuron.reset, potential)
            trace = scalars.adaptation_decay * trace + spike.astype(trace.dtype)
        return (potential, trace), packer.packed()

    chunks = split_time(current, axis)
    _, saved = lax.scan(encode, (zeros, zeros), chunks, unroll=len(chunks) == 1)
    return saved


def _fire_backward(neuron: _Neuron, axis: int, residuals: Any, cotangent: jax.Array) -> tuple:
    differentiate: Callable[..., Any] = functools.partial(_differentiate, neuron, axis)
    if neuron.learned:
        # The gradients of the scalars and of the current have different consumers.
        differentiate = isolate(_differentiate, neuron, axis)
    gradient, sums = differentiate(residuals, cotangent)
    scalars: _Scalars = residuals[2]
    of_scalars = _Scalars(
        *(
            isolate(jnp.sum)(sums[name]) if name in sums else jnp.zeros_like(value)
            for name, value in scalars._asdict().items()
        )
    )
    return gradient, of_scalars


_fire.defvjp(_fire_forward, _fire_backward)


class _Carry(NamedTuple):
    """The values that the backward pass hands to the previous step.

    Attributes:
      left: the cotangent of ``v[t]``.
      trace: the cotangent of ``a[t]``.
      potential: the cotangent of ``u[t+1]``.
      sums: the gradients of learned scalars by name, summed over the later steps of each neuron.
    """

    left: jax.Array
    trace: jax.Array
    potential: jax.Array
    sums: dict[str, jax.Array]


def _differentiate(
    neuron: _Neuron, axis: int, residuals: Any, cotangent: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the gradient of the current, and those of learned scalars for each neuron."""
    saved, spikes, scalars = residuals
    chunks = split_time(cotangent, axis)
    zeros = jnp.zeros_like(saved.word[0], dtype=scalars.decay.dtype)
    histories = starts = None
    if spikes is not None:
        histories = split_time(spikes, axis)
        starts = _trace_starts(scalars.adaptation_decay, axis, histories, zeros)
    start = _Carry(zeros, zeros, zeros, dict.fromkeys(sorted(neuron.learned), zeros))
    carry, gradients = lax.scan(
        functools.partial(_differentiate_word, neuron, axis, scalars),
        start,
        (saved, chunks, histories, starts),
        reverse=True,
        unroll=len(chunks) == 1,
    )
    sums = dict(carry.sums)
    if neuron.decay_input and 'decay' in sums:
        sums['decay'] = sums['decay'] / (1 - scalars.decay)
    gradient = join_time(gradients, axis, cotangent.shape[axis])
    return neuron.charge(gradient, scalars.decay).astype(cotangent.dtype), sums


def _trace_starts(
    adaptation_decay: jax.Array, axis: int, histories: jax.Array, zeros: jax.Array
) -> jax.Array:
    """Returns the adaptation before each word, of shape (words, ...), from the spikes."""
    if len(histories) == 1:
        return jnp.expand_dims(zeros, 0)

    def filtered(trace: jax.Array, spikes: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _traces(adaptation_decay, axis, trace, spikes)[-1], trace

    return lax.scan(filtered, zeros, histories)[1]


def _traces(
    adaptation_decay: jax.Array, axis: int, start: jax.Array, spikes: jax.Array
) -> list[jax.Array]:
    """Returns the adaptation before each step of a word, and after its last step."""
    traces = [start]
    for t in range(spikes.shape[axis]):
        traces.append(adaptation_decay * traces[-1] + at(spikes, t, axis).astype(start.dtype))
    return traces


def _differentiate_word(
    neuron: _Neuron,
    axis: int,
    scalars: _Scalars,
    carry: _Carry,
    inputs: tuple[Packed, jax.Array, jax.Array | None, jax.Array | None],
) -> tuple[_Carry, jax.Array]:
    """Pulls the spikes' cotangent back to the potentials ``u[t]`` of one word, last step first."""
    saved, cotangent, history, start = inputs
    num_steps = cotangent.shape[axis]
    traces: list[jax.Array] = []
    if history is not None and start is not None:
        traces = _traces(scalars.adaptation_decay, axis, start, history)
    of_left, of_trace, of_next, sums = carry
    # With `decay_input` the gradient is multiplied before it is rounded.
    dtype = of_left.dtype if neuron.decay_input else cotangent.dtype
    gradients = []
    for t in reversed(range(num_steps)):
        residual = saved.residual(t, num_steps, axis)
        of_spike = at(cotangent, t, axis).astype(of_left.dtype) + of_trace
        if neuron.keeps_distance:
            potential = residual + (scalars.threshold + scalars.adaptation * traces[t])
        if neuron.detach_reset:
            passed = jnp.where(saved.spike(t), 0.0, of_left)
        else:
            of_spike += of_left * (neuron.reset - potential)
            passed = select(neuron, residual, jnp.zeros_like(of_left), of_left)
        of_distance = of_spike * neuron.derivative(residual)
        gradient = of_distance + passed
        gradients.append(gradient.astype(dtype))
        added: dict[str, jax.Array] = {}
        if 'decay' in sums:
            decided = lax.stop_gradient(residual) if neuron.detach_reset else residual
            reset = jnp.full_like(potential, neuron.reset)
            added['decay'] = of_next * select(neuron, decided, reset, potential)
            if neuron.decay_input:
                # The current follows from the potentials before and after it.
                added['decay'] -= gradient * potential
        if 'threshold' in sums:
            added['threshold'] = -of_distance
        if 'adaptation' in sums:
            added['adaptation'] = -of_distance * traces[t]
        if 'adaptation_decay' in sums:
            added['adaptation_decay'] = of_trace * traces[t]
        sums = {name: total + added[name] for name, total in sums.items()}
        of_left = scalars.decay * gradient
        of_trace = scalars.adaptation_decay * of_trace - scalars.adaptation * of_distance
        of_next = gradient
    return _Carry(of_left, of_trace, of_next, sums), jnp.stack(gradients[::-1], axis)
