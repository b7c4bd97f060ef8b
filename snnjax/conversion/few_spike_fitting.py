"""Fits the coefficients of few-spike neurons to a function of one number.

The procedure is that of Stöckl and Maass 2021 and of their ``find_coeffs.py``: Adam with randomly
drawn learning rates, from many random starts, through a surrogate gradient. Here the best starts
are then refined at small learning rates.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.neurons.few_spikes import Coefficients, few_spikes


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """Options of `fit_few_spikes`. The defaults are those of the authors, except ``points``.

    Attributes:
      low: the smallest input of the fit.
      high: the largest input of the fit.
      points: the number of evenly spaced inputs from ``low`` to ``high``; the authors use 100,000.
      starts: the number of random starts.
      steps: the number of steps of each start.
      rates: the smallest and the largest learning rate; each step draws one between them.
      refined: the number of best starts to refine.
      refine_steps: the number of steps of each refinement.
      refine_rate: the initial learning rate of the refinement, which falls to 0 by a cosine.
      seed: the seed of all random numbers.
    """

    low: float
    high: float
    points: int = 2000
    starts: int = 100
    steps: int = 5000
    rates: tuple[float, float] = (0.09, 0.5)
    refined: int = 10
    refine_steps: int = 20_000
    refine_rate: float = 0.02
    seed: int = 0


@jax.custom_jvp
def _fires(scaled: jax.Array) -> jax.Array:
    return (scaled > 0).astype(scaled.dtype)


@_fires.defjvp
def _fires_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> Any:
    (scaled,), (tangent,) = primals, tangents
    return _fires(scaled), jnp.maximum(0.0, 1 - jnp.abs(scaled)) * tangent


def _outputs(arrays: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the outputs for ``x``, and the penalty for potentials far from their thresholds.

    Args:
      arrays: the thresholds, resets and weights, of shape (3, K).
      x: the inputs, of shape (points,).
    """
    potential, output, penalty = x, jnp.zeros_like(x), jnp.zeros((), x.dtype)
    for threshold, reset, weight in arrays.T:
        scaled = (potential - threshold) / (jnp.abs(potential) + 1)
        spike = _fires(scaled)
        output += weight * spike
        potential -= reset * spike
        penalty += jnp.square(jnp.mean(jnp.maximum(jnp.abs(scaled) - 1, 0)))
    return output, penalty


def _loss(arrays: jax.Array, rho: jax.Array, x: jax.Array, y: jax.Array) -> Any:
    output, penalty = _outputs(arrays, x)
    error = jnp.mean(jnp.square(y - output))
    return error + rho * penalty, error


def _descend(
    rate_of: Callable[[jax.Array, jax.Array], jax.Array],
    steps: int,
    start: jax.Array,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Runs Adam from one start; returns the least error during the run, and its arrays."""
    rho = jax.random.uniform(key, minval=0.08, maxval=0.12)
    gradient = jax.value_and_grad(functools.partial(_loss, rho=rho, x=x, y=y), has_aux=True)

    def step(carry: Any, t: jax.Array) -> tuple[Any, None]:
        arrays, first, second, best, best_arrays = carry
        (_, error), slope = gradient(arrays)
        better = error < best
        best_arrays = jnp.where(better, arrays, best_arrays)
        best = jnp.minimum(error, best)
        slope = jnp.nan_to_num(slope)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * jnp.square(slope)
        scale = jnp.sqrt(second / (1 - 0.999 ** (t + 1.0))) + 1e-8
        rate = rate_of(jax.random.fold_in(key, t), t)
        arrays -= rate * (first / (1 - 0.9 ** (t + 1.0))) / scale
        return (arrays, first, second, best, best_arrays), None

    zeros = jnp.zeros_like(start)
    carry = start, zeros, zeros, jnp.full((), jnp.inf, start.dtype), start
    (*_, best, arrays), _ = jax.lax.scan(step, carry, jnp.arange(steps))
    return best, arrays


def fit_few_spikes(
    function: Callable[[np.ndarray], np.ndarray],
    num_steps: int,
    options: FitOptions,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Coefficients, float]:
    """Fits the coefficients of an FS neuron to a function.

    Args:
      function: an elementwise function of a float64 array.
      num_steps: the number of steps K.
      options: the range of inputs, and the options of the optimizer.
      report: a function that gets a line of progress after each start.

    Returns:
      The coefficients as floats, and their mean squared error on 100,000 inputs, in float64.

    Raises:
      ValueError: if the range of inputs is empty, or there is no step or no start.
    """
    if not options.low < options.high:
        raise ValueError(f'low={options.low} must be below high={options.high}')
    if min(num_steps, options.starts, options.steps, options.points) < 1:
        raise ValueError('num_steps, starts, steps and points must be at least 1')
    grid = np.linspace(options.low, options.high, options.points)
    x, y = jnp.asarray(grid, jnp.float32), jnp.asarray(function(grid), jnp.float32)
    key = jax.random.key(options.seed)
    first, second, third = jax.random.split(key, 3)
    # The rows are thresholds, resets and weights.
    low, high = jnp.array([[-1.0], [-1.0], [-0.5]]), jnp.array([[1.0], [0.0], [1.0]])
    shape = (options.starts, 3, num_steps)
    starts = jax.random.uniform(first, shape, minval=low, maxval=high)

    def drawn(key: jax.Array, _: jax.Array) -> jax.Array:
        return jax.random.uniform(key, minval=options.rates[0], maxval=options.rates[1])

    def falling(_: jax.Array, t: jax.Array) -> jax.Array:
        return options.refine_rate * 0.5 * (1 + jnp.cos(jnp.pi * t / options.refine_steps))

    def run(rate_of: Any, steps: int, starts: jax.Array, key: jax.Array) -> Any:
        descend = jax.jit(functools.partial(_descend, rate_of, steps))
        keys = jax.random.split(key, len(starts))
        results = []
        for number, (start, each) in enumerate(zip(starts, keys, strict=True), start=1):
            results.append(descend(start, each, x, y))
            least = min(float(error) for error, _ in results)
            report(f'start {number}/{len(starts)}: least mean squared error {least:.6f}')
        return results

    found = run(drawn, options.steps, starts, second)
    found.sort(key=lambda result: float(result[0]))
    if options.refined and options.refine_steps:
        best = jnp.stack([arrays for _, arrays in found[: options.refined]])
        found += run(falling, options.refine_steps, best, third)
    scored = [
        (mean_squared_error(function, _as_floats(a), options), _as_floats(a)) for _, a in found
    ]
    error, coefficients = min(scored, key=lambda pair: pair[0])
    return coefficients, error


def mean_squared_error(
    function: Callable[[np.ndarray], np.ndarray],
    coefficients: Coefficients,
    options: FitOptions,
    points: int = 100_000,
) -> float:
    """Returns the mean squared error of FS neurons on a range of inputs, in float64."""
    x = np.linspace(options.low, options.high, points)
    with jax.enable_x64(True):
        output = np.asarray(few_spikes(jnp.asarray(x), coefficients)[0])
    return float(np.mean(np.square(function(x) - output)))


def _as_floats(arrays: jax.Array) -> Coefficients:
    thresholds, resets, weights = np.asarray(arrays, np.float64).tolist()
    # No spike follows the last step, so its reset has no effect.
    return Coefficients(tuple(thresholds), (*resets[:-1], 0.0), tuple(weights))
