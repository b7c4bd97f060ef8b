"""Neurons of other papers against their equations in NumPy, in float64: spikes and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.neurons import SURROGATES, lif
from tests.models import numpy_networks
from tests.models.numpy_networks import Node, backward

INTEGRATE_AND_FIRE = {'decay': 1.0, 'threshold': 1.0, 'surrogate': SURROGATES['arctan']}
TA_SNN = {'decay': 0.3, 'threshold': 0.3, 'reset': 0.3, 'detach_reset': False}


@functools.partial(jax.jit, static_argnums=0)
def spikes_and_gradients(neuron, cotangent, *inputs):
    spikes, pull = jax.vjp(neuron, *inputs)
    return spikes, pull(cotangent)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('num_steps', [1, 6, 17])
@pytest.mark.parametrize(
    ('options', 'surrogate'),
    [(INTEGRATE_AND_FIRE, numpy_networks.arctan), (TA_SNN, numpy_networks.rectangular)],
    ids=['integrate_and_fire', 'ta_snn'],
)
def test_spikes_and_gradient_are_those_of_the_equations(options, surrogate, num_steps):
    rng = np.random.default_rng(num_steps)
    current = rng.normal(0.2, 0.6, (3, num_steps, 20))
    cotangent = rng.normal(size=current.shape)
    statement = Node(current)
    expected = numpy_networks.neurons(
        statement,
        leak=options['decay'],
        threshold=options['threshold'],
        reset=options.get('reset', 0.0),
        surrogate=surrogate,
        detached=options.get('detach_reset', True),
    )
    backward(expected, cotangent)
    spikes, (gradient,) = spikes_and_gradients(
        functools.partial(lif, **options), cotangent, current
    )
    np.testing.assert_array_equal(spikes, expected.value)
    assert 0 < spikes.mean() < 1
    np.testing.assert_allclose(gradient, statement.gradient, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('num_steps', [1, 6, 17])
def test_the_parametric_neuron_learns_its_time_constant(num_steps):
    """``tau = 1 / sigmoid(w)`` of the equations is ``1 / (1 - decay)`` here."""
    rng = np.random.default_rng(num_steps)
    current, w = rng.normal(0.8, 1.5, (3, num_steps, 20)), np.array(0.4)
    cotangent = rng.normal(size=current.shape)
    statement, of_w = Node(current), Node(w)
    expected = numpy_networks.plif(statement, of_w)
    backward(expected, cotangent)

    def neuron(current, w):
        return lif(
            current,
            decay=jax.nn.sigmoid(-w),
            decay_input=True,
            threshold=1.0,
            surrogate=SURROGATES['arctan'],
        )

    spikes, gradients = spikes_and_gradients(neuron, cotangent, current, w)
    np.testing.assert_array_equal(spikes, expected.value)
    assert 0 < spikes.mean() < 1
    np.testing.assert_allclose(gradients[0], statement.gradient, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gradients[1], of_w.gradient, rtol=1e-10)


@pytest.mark.parametrize('decay', [0.25, 0.5])
def test_charging_by_a_share_of_the_current_tends_to_its_mean(decay):
    constant = jnp.full((1, 60, 1), 0.9)
    share = functools.partial(lif, decay=decay, decay_input=True)
    assert not share(constant, threshold=0.901).any()
    assert share(constant, threshold=0.899).any()
