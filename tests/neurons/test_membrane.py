import jax
import numpy as np
import pytest

from snnjax.neurons import lif, membrane_potential


@pytest.mark.parametrize('time_axis', [0, 1])
@pytest.mark.parametrize('strict', [False, True])
def test_the_potential_decides_whether_a_neuron_fires(x64, time_axis, strict):
    current = jax.random.normal(jax.random.key(0), (5, 7, 3), dtype='float64')
    constants = {'decay': 0.4, 'threshold': 0.6, 'reset': 0.1, 'strict': strict}
    potential = membrane_potential(current, time_axis=time_axis, **constants)
    spikes = lif(current, time_axis=time_axis, **constants)
    np.testing.assert_array_equal(potential > 0.6 if strict else potential >= 0.6, spikes == 1)

    left = 0.0
    for x, measured in zip(
        np.moveaxis(np.asarray(current), time_axis, 0),
        np.moveaxis(np.asarray(potential), time_axis, 0),
        strict=True,
    ):
        u = 0.4 * left + x
        np.testing.assert_allclose(measured, u, rtol=1e-12)
        left = np.where(u >= 0.6, 0.1, u)
