"""Few-spike neurons (FS): the spikes of K steps carry the digits of one number.

A layer of FS neurons is an activation function: it gets its whole input at once and returns the
weighted sum of at most K spikes per neuron. Equations and tables are those of Stöckl and Maass 2021
(arXiv 2002.00860) and of their code, christophstoeckl/FS-neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.neurons.precision import at_least_float32


class Coefficients(NamedTuple):
    """The coefficients of an FS neuron, one of each kind per step.

    Attributes:
      thresholds: the thresholds ``T(t)``, above which the neuron fires.
      resets: the amounts ``h(t)`` that a spike subtracts from the membrane potential.
      weights: the amounts ``d(t)`` that a spike adds to the output.
    """

    thresholds: Sequence[float] | np.ndarray | jax.Array
    resets: Sequence[float] | np.ndarray | jax.Array
    weights: Sequence[float] | np.ndarray | jax.Array

    @property
    def num_steps(self) -> int:
        """Returns the number of steps K."""
        return len(self.thresholds)


def few_spikes(
    x: jax.Array, coefficients: Coefficients, *, strict: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Returns the outputs of FS neurons and their numbers of spikes.

    With ``v(1) = x``, for t = 1, ..., K::

        z(t) = 1 if v(t) > T(t) else 0
        v(t + 1) = v(t) - h(t) * z(t)
        output = sum of d(t) * z(t)

    Args:
      x: the whole input of each neuron, a float array of any shape.
      coefficients: the coefficients ``T``, ``h`` and ``d``.
      strict: True to fire only above the threshold, as in the authors' code; False to fire at the
        threshold, too.

    Returns:
      The outputs, and the numbers of spikes as int32, both in the shape of ``x``. Membrane
      potentials and sums are at least float32.
    """
    potential = x.astype(at_least_float32(x.dtype))
    output = jnp.zeros_like(potential)
    count = jnp.zeros(x.shape, jnp.int32)
    for threshold, reset, weight in zip(*coefficients, strict=True):
        fires = potential > threshold if strict else potential >= threshold
        potential = jnp.where(fires, potential - reset, potential)
        output = jnp.where(fires, output + weight, output)
        count += fires
    return output.astype(x.dtype), count


def binary_coefficients(largest: float, num_steps: int) -> Coefficients:
    """Returns the coefficients of binary digits, with which FS neurons are ReLUs.

    ``T(t) = h(t) = d(t) = largest * 2 ** -t``. With ``q = largest * 2 ** -K``, the output for ``x``
    is ``q * clip(ceil(x / q) - 1, 0, 2 ** K - 1)``.

    Args:
      largest: the bound ``alpha``; outputs are at most ``alpha * (1 - 2 ** -K)``.
      num_steps: the number of steps K.

    Raises:
      ValueError: if ``largest`` is not positive, or ``num_steps`` is not from 1 to 24, the number
        of digits of a float32.
    """
    if largest <= 0:
        raise ValueError(f'largest={largest} must be above 0')
    if not 1 <= num_steps <= 24:
        raise ValueError(f'num_steps={num_steps} must be from 1 to 24')
    digits = tuple(largest * 2.0 ** -(t + 1) for t in range(num_steps))
    return Coefficients(digits, digits, digits)


PUBLISHED_SWISH = Coefficients(
    thresholds=(
        *(0.05946945, 1.6541206, 1.3066754, 1.3267198, 1.1000695, 1.2308974, 1.1188028, 0.9472501),
        *(0.5447531, 1.0236325, 0.11921431, -0.12855051, -0.44731247, -2.1383545, 1.0, -4.109145),
    ),
    resets=(
        *(0.7844085, 1.7550646, 1.4212719, 1.9244663, 1.4400164, 1.9249276, 1.6100428, 1.29061),
        *(0.83985287, 3.0827985, 0.43503317, 0.5155389, 0.3269445, 7.618048, -14.419675, 0.0),
    ),
    weights=(
        *(0.40088242, 1.8856316, 1.4915457, 1.947229, 1.4717816, 1.9147849, 1.6389303, 1.2934641),
        *(0.8703124, 0.68460804, 0.44262582, 0.32832766, 0.13907616, -0.26217145, 0.23736191),
        -0.14830568,
    ),
)
"""The authors' coefficients for ``x * sigmoid(x)``, K = 16."""

PUBLISHED_SIGMOID = Coefficients(
    thresholds=(
        *(-0.00824843, -0.9319625, 1.0080122, -1.2074932, -1.7885877, -2.7065408, -3.2715735),
        *(0.07132628, -3.719372, -0.543918, -3.7693157, -5.5447803),
    ),
    resets=(
        *(1.6558512, 1.0989026, 10.7739, 1.3579437, 1.0146959, 0.8972655, 2.1207616, 1.6949341),
        *(3.6397197, -2.1483946, 5.1177883, 0.0),
    ),
    weights=(
        *(0.37689912, 0.21977554, 0.40271342, 0.17005783, 0.09584032, 0.06293014, 0.04360681),
        *(-0.0443096, 0.01999909, 0.07107325, 0.01502249, 0.01021793),
    ),
)
"""The authors' coefficients for ``sigmoid(x)``, K = 12."""

FITTED_SWISH = Coefficients(
    thresholds=(
        *(0.066798456, 1.0353488, 1.0099883, 1.020479, 1.0430865, 1.0386992),
        *(1.0382599, 1.0062104, 0.750314, 0.24603073, -0.030981781, -0.20810339),
        *(-0.49246296, -1.2728702, -3.2323973, -5.5282125),
    ),
    resets=(
        *(0.8464259, 1.1577988, 1.1138641, 1.3120837, 1.4140503, 1.4324366),
        *(1.4274275, 1.3446332, 1.0889295, 0.5514344, 0.26346487, -1.0080009),
        *(9.533208, 7.5606666, 1.7868803, 0.0),
    ),
    weights=(
        *(0.4492873, 1.2430325, 1.2065849, 1.3695416, 1.4383326, 1.4417105),
        *(1.4344794, 1.3472118, 1.1003866, 0.56266356, 0.2694586, 0.14265123),
        *(-0.15385352, -0.272084, -0.15014555, -0.060229532),
    ),
)
"""Coefficients for ``x * sigmoid(x)`` on [-8, 12], K = 16, fitted in this project.

``python -m snnjax.tools.fit_few_spikes --function=swish`` finds them. Their mean squared error is
0.00193; that of `PUBLISHED_SWISH` is 0.00345.
"""

FITTED_SIGMOID = Coefficients(
    thresholds=(
        *(0.025202729, -0.8825058, -1.016849, 1.0018193, -0.36207467, -2.0754833),
        *(-2.7958443, -0.48778543, -1.6575507, -5.348266, -0.836994, 0.9806304),
    ),
    resets=(
        *(1.6499677, 0.45336705, 1.915562, 11.118744, 5.4822187, 1.0611198),
        *(-2.1065803, 1.1781573, 2.5255957, -3.0355723, 0.8933096, 0.0),
    ),
    weights=(
        *(0.37740937, 0.114631996, 0.2475672, 0.25873512, 0.24139011, 0.10804909),
        *(-0.0281008, 0.06262052, 0.04951093, 0.007994219, 0.026777465, -0.002574994),
    ),
)
"""Coefficients for ``sigmoid(x)`` on [-10, 10], K = 12, fitted in this project.

``python -m snnjax.tools.fit_few_spikes --function=sigmoid --starts=60`` finds them. Their mean
squared error is 8.8e-05; that of `PUBLISHED_SIGMOID` is 1.44e-04.
"""
