import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.neurons import SURROGATES


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('width', [0.5, 1.0, 2.0])
@pytest.mark.parametrize('name', SURROGATES)
def test_has_unit_integral_and_peak_of_one_over_width(name, width):
    surrogate = SURROGATES[name]
    # Substituting distance = tan(angle) takes in the arctan's long tails.
    angle = (np.arange(400_000) + 0.5) / 400_000 * np.pi - np.pi / 2
    distance = jnp.asarray(np.tan(angle))
    bump = surrogate.derivative(surrogate.save(distance, width, False), width)
    integral = jnp.sum(bump / jnp.cos(angle) ** 2) * np.pi / len(angle)
    np.testing.assert_allclose(integral, 1.0, atol=1e-4)
    np.testing.assert_allclose(jnp.max(bump), 1 / width, rtol=1e-5)


@pytest.mark.parametrize(('strict', 'at_the_edge'), [(False, 1.0), (True, 0.0)])
def test_window_of_the_rectangle_is_closed_unless_strict(strict, at_the_edge):
    rectangular = SURROGATES['rectangular']
    edges = jnp.array([-0.5, 0.5])
    saved = rectangular.save(edges, 1.0, strict)
    np.testing.assert_array_equal(rectangular.derivative(saved, 1.0), [at_the_edge, at_the_edge])
