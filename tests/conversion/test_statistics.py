"""Statistics of batches are those of all values at once."""

import numpy as np
import pytest

from snnjax.conversion.statistics import FloorErrors, LargestValues

VALUES = np.maximum(np.random.default_rng(0).normal(0, 1, (600, 3)), 0).astype(np.float32)


@pytest.mark.parametrize('percentile', [50, 99, 99.9, 100])
@pytest.mark.parametrize('nonzero', [False, True])
def test_percentiles_are_exact(percentile, nonzero):
    statistics = LargestValues(3, len(VALUES), percentile, nonzero)
    for part in np.split(VALUES, [100, 101, 350]):
        statistics.add(part)
    expected = [
        np.percentile(column[column != 0] if nonzero else column, percentile)
        for column in VALUES.T.astype(np.float64)
    ]
    np.testing.assert_allclose(statistics.result(), expected, rtol=1e-6)


def test_zeros_lower_a_percentile():
    """With a share p of zeros, 99.9 % of all is 100 - 0.1 / (1 - p) % of what is not 0."""
    values = np.concatenate([np.zeros(8000), np.arange(1, 2001)])[:, None]
    found = []
    for nonzero, percentile in ((False, 99.9), (True, 99.9), (True, 99.5)):
        statistics = LargestValues(1, len(values), percentile, nonzero)
        statistics.add(values)
        found.append(statistics.result()[0])
    all_values, without_zeros, lower = found
    assert without_zeros > all_values + 5
    assert abs(lower - all_values) <= 1


def test_without_a_value_there_is_no_percentile():
    statistics = LargestValues(1, 10, 99.9, nonzero=True)
    statistics.add(np.zeros((10, 1)))
    assert statistics.result() == [0]


@pytest.mark.parametrize('percentile', [0, 101])
def test_a_percentile_that_there_is_not_is_refused(percentile):
    with pytest.raises(ValueError, match=f'percentile={percentile}'):
        LargestValues(1, 10, percentile)


def test_the_threshold_of_least_error_is_found():
    steps, largest = 4, VALUES.max(0)
    statistics = FloorErrors(largest, steps)
    for part in np.split(VALUES, 3):
        statistics.add(part)
    for column, most, found in zip(VALUES.T, largest, statistics.result(), strict=True):
        x = column.astype(np.float64)
        errors = {
            theta: np.mean(
                (theta / steps * np.floor(np.clip(steps * x / theta, 0, steps)) - x) ** 2
            )
            for theta in (most * (1 - 0.01 * i) for i in range(95))
        }
        assert found == pytest.approx(min(errors, key=errors.get))
        assert found < most
