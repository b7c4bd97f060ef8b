"""Few-spike neurons against closed forms and published numbers, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.conversion.few_spike_fitting import FitOptions, fit_few_spikes, mean_squared_error
from snnjax.neurons.few_spikes import (
    FITTED_SIGMOID,
    FITTED_SWISH,
    PUBLISHED_SIGMOID,
    PUBLISHED_SWISH,
    binary_coefficients,
    few_spikes,
)


@pytest.fixture(autouse=True)
def _x64(x64):
    pass


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(x)


@pytest.mark.parametrize('strict', [True, False])
def test_relus_are_binary_digits(strict):
    largest, steps = 4.0, 5
    q, most = largest * 2.0**-steps, 2**steps - 1
    x = np.arange(-64, 400) / 64
    output, spikes = few_spikes(jnp.asarray(x), binary_coefficients(largest, steps), strict=strict)
    whole = np.ceil(x / q) - 1 if strict else np.floor(x / q)
    np.testing.assert_array_equal(output, q * np.clip(whole, 0, most))
    digits = [int(value).bit_count() for value in np.asarray(output) / q]
    assert spikes.tolist() == digits
    assert max(digits) == steps
    inside = (x >= 0) & (x <= largest * (1 - 2.0**-steps))
    assert ((x - output)[inside] >= 0).all()
    assert ((x - output)[inside] <= q).all()
    assert output[-1] == largest * (1 - 2.0**-steps)


def test_published_coefficients_give_published_numbers():
    x = jnp.array([0.0, 1, 2, 4])
    output, spikes = few_spikes(x, PUBLISHED_SWISH)
    np.testing.assert_allclose(output, [0.06616, 0.72041, 1.74957, 3.84422], atol=1e-5)
    assert spikes.tolist() == [2, 4, 4, 5]
    output, spikes = few_spikes(x[:3:2], PUBLISHED_SIGMOID)
    np.testing.assert_allclose(output, [0.55567, 0.88349], atol=1e-5)
    assert spikes[0] == 4
    for function, coefficients, low, high, expected in (
        (swish, PUBLISHED_SWISH, -8, 12, 0.00345),
        (swish, PUBLISHED_SWISH, -2, 2, 0.00239),
        (sigmoid, PUBLISHED_SIGMOID, -10, 10, 0.000144),
    ):
        error = mean_squared_error(function, coefficients, FitOptions(low, high))
        assert error == pytest.approx(expected, rel=5e-3)


def test_the_fitted_coefficients_are_better_than_the_published_ones():
    for function, fitted, published, low, high in (
        (swish, FITTED_SWISH, PUBLISHED_SWISH, -8, 12),
        (sigmoid, FITTED_SIGMOID, PUBLISHED_SIGMOID, -10, 10),
    ):
        ours, theirs = (
            mean_squared_error(function, each, FitOptions(low, high))
            for each in (fitted, published)
        )
        assert ours < 0.7 * theirs
        assert fitted.num_steps == published.num_steps
    assert mean_squared_error(swish, FITTED_SWISH, FitOptions(-8, 12)) == pytest.approx(
        0.00193, abs=5e-6
    )


def test_fitting_finds_a_function():
    options = FitOptions(-2, 2, points=101, starts=2, steps=300, refined=1, refine_steps=200)
    coefficients, error = fit_few_spikes(lambda x: np.maximum(x, 0), 4, options)
    assert error < 0.02
    assert coefficients.resets[-1] == 0
    assert error == mean_squared_error(lambda x: np.maximum(x, 0), coefficients, options)


@pytest.mark.parametrize(('largest', 'steps'), [(0, 4), (1.0, 0), (1.0, 25)])
def test_digits_that_there_are_not_are_refused(largest, steps):
    with pytest.raises(ValueError, match='must be'):
        binary_coefficients(largest, steps)
    with pytest.raises(ValueError, match='must be below'):
        fit_few_spikes(swish, 4, FitOptions(1, 0))
