"""Activations against their formulas, in float64, and in the place of neurons in networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.activations import ACTIVATIONS, QCFS, Clip
from snnjax.models.params import by_name

X = np.linspace(-3, 6, 37).reshape(1, 1, 37, 1, 1) + 0.01


def applied(layer, x, **params):
    return layer.apply({'params': {key: jnp.asarray(value) for key, value in params.items()}}, x)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(
    ('name', 'formula'),
    [
        ('relu', lambda x: np.maximum(x, 0)),
        ('swish', lambda x: x / (1 + np.exp(-x))),
        ('sigmoid', lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_gives_the_values_of_its_formula(name, formula):
    np.testing.assert_allclose(applied(ACTIVATIONS[name](), X), formula(X), rtol=1e-12)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('levels', [1, 4])
def test_qcfs_and_its_derivatives_are_those_of_the_paper(levels):
    bound = 2.5
    x, half = jnp.asarray(X), bound / (2 * levels)
    y, pull = jax.vjp(lambda x, bound: applied(QCFS(levels), x, bound=bound), x, jnp.array(bound))
    expected = bound * np.clip(np.floor(X * levels / bound + 0.5) / levels, 0, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    inside = (-half < X) & (bound - half > X)
    of_x, of_bound = pull(jnp.ones(X.shape))
    np.testing.assert_allclose(of_x, inside, atol=1e-12)
    slopes = np.where(inside, (expected - X) / bound, bound - half <= X)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_allclose(of_bound, slopes.sum(), rtol=1e-12)


@pytest.mark.usefixtures('x64')
def test_outputs_at_the_bound_move_the_bound_of_clip():
    y, pull = jax.vjp(
        lambda x, bound: applied(Clip(), x, bound=bound), jnp.asarray(X), jnp.array(2.5)
    )
    np.testing.assert_allclose(y, np.clip(X, 0, 2.5))
    of_x, of_bound = pull(jnp.ones(X.shape))
    np.testing.assert_array_equal(of_x, (X > 0) & (X < 2.5))
    assert of_bound == np.sum(X >= 2.5)
    np.testing.assert_allclose(Clip(2.5, learned=False).apply({}, X), np.clip(X, 0, 2.5))


# Layers of few spikes record another rate, see `tests/neurons/test_few_spikes.py`.
@pytest.mark.parametrize('name', ['relu', 'clip', 'qcfs', 'swish', 'sigmoid'])
def test_keeps_bfloat16_and_records_the_share_of_positive_outputs(name):
    x = jnp.asarray(X, jnp.bfloat16)
    layer = ACTIVATIONS[name]()
    variables = layer.init(jax.random.key(0), x)
    y, updates = layer.apply(variables, x, mutable=['firing_rates'])
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(updates['firing_rates']['rate'], np.mean(y > 0), rtol=1e-3)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


SMALL = {'blocks': (1, 1), 'widths': (4, 6), 'strides': (1, 2), 'num_classes': 3}


def shapes_of(model):
    return by_name(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))['params'])


def test_neurons_have_the_places_and_weights_of_activations():
    network = create_model('relu_resnet8', activation='qcfs', **SMALL)
    spiking = network.clone(
        activation='', activation_options={}, decay=1.0, learnable_threshold=True
    )
    ann, snn = shapes_of(network), shapes_of(spiking)
    assert not network.is_spiking
    assert spiking.is_spiking
    assert {key.replace('bound', 'threshold') for key in ann} == snn.keys()
    assert sum('bound' in key for key in ann) == 5


def test_an_image_is_seen_once():
    network = create_model('relu_resnet8', num_steps=5, step_logits=True, **SMALL)
    shape = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))[
        0
    ].shape
    assert shape == (2, 1, 3)


def test_relu_is_the_activation_of_kind_ann():
    named = create_model('ann_resnet8', activation='relu', **SMALL)
    unnamed = create_model('ann_resnet8', **SMALL)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = jax.jit(unnamed.init)(jax.random.key(0), images)
    np.testing.assert_array_equal(named.apply(variables, images), unnamed.apply(variables, images))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'activation': 'rely'}, "unknown activation 'rely'; did you mean relu"),
        (
            {'activation': 'qcfs', 'activation_options': {'level': 4}},
            "'qcfs' has no option 'level'; did you mean levels",
        ),
        ({'activation_options': {'levels': 4}}, "'relu' has no option 'levels'"),
        (
            {'activation': '', 'activation_options': {'levels': 4}},
            'a network without an activation has no option',
        ),
        ({'activation': 'qcfs', 'activation_options': {'levels': 0}}, 'levels=0 must be'),
        ({'activation': 'clip', 'activation_options': {'bound': -1.0}}, 'bound=-1.0 must be'),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        create_model('relu_resnet8', **options)
