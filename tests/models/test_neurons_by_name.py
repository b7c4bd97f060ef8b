"""Networks of neurons by name: what they are given, what they learn, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.layers import LIF, SpikingNeurons
from snnjax.models.summary import summarize
from snnjax.neurons import NEURONS, SURROGATES, Neuron, lif

SMALL = {'num_steps': 2, 'blocks': (1,), 'widths': (4,), 'strides': (1,)}
IMAGES = jnp.zeros((1, 4, 4, 3))


def scaled(current, *, decay=0.5, gain=2.0, note='', time_axis=1):
    return lif(gain * current, decay=decay, time_axis=time_axis)


def without_default(current, *, gain, threshold=0.5):
    return lif(gain * current, threshold=threshold)


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setitem(NEURONS, 'mine', scaled)
    monkeypatch.setitem(NEURONS, 'bare', without_default)


def learned(model):
    """Shapes of the parameters of the last neurons, by name."""
    params = jax.eval_shape(model.init, jax.random.key(0), IMAGES)['params']
    return sorted(params.get('spike', {}))


def test_the_neuron_is_given_the_options_that_it_has():
    got = {}

    def spy(current, *, decay, width, surrogate, slope=1.0):
        got.update(decay=decay, width=width, surrogate=surrogate, slope=slope)
        return jnp.zeros_like(current)

    NEURONS['spy'] = spy
    try:
        options = {'decay': 0.3, 'surrogate_width': 2.0, 'surrogate': 'arctan'}
        model = create_model(
            'ms_resnet8', neuron='spy', neuron_options={'slope': 3}, **options, **SMALL
        )
        assert hash(model) == hash(model.clone())
        learned(model)
    finally:
        del NEURONS['spy']
    assert got == {'decay': 0.3, 'width': 2.0, 'surrogate': SURROGATES['arctan'], 'slope': 3}


def test_adaptive_neurons_learn_all_that_they_have():
    model = create_model(
        'ms_resnet8',
        neuron='adaptive_lif',
        neuron_options={'adaptation': 0.2},
        learnable='adaptation, adaptation_decay',
        learnable_decay=True,
        learnable_threshold=True,
        **SMALL | {'num_steps': 4},
    )
    images = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    params = variables['params']['spike']
    assert sorted(params) == ['adaptation', 'adaptation_decay_logit', 'decay_logit', 'threshold']
    assert params['adaptation'] == jnp.float32(0.2)
    np.testing.assert_allclose(jax.nn.sigmoid(params['adaptation_decay_logit']), 0.9, rtol=1e-6)

    @jax.jit
    def gradient(params):
        def loss(params):
            logits, _ = model.apply(
                {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
            )
            return jnp.sum(jnp.square(logits - 1))

        return jax.grad(loss)(params)

    # Of all layers, since some neurons of so small a network do not fire.
    found = jax.tree.leaves_with_path(gradient(variables['params']))
    for name in params:
        assert any(np.any(leaf != 0) for path, leaf in found if path[-1].key == name), name
    neurons = [layer for layer in summarize(model, (4, 4, 3)) if layer.kind == 'neurons']
    assert [layer.parameters for layer in neurons] == [4, 4, 4]


@pytest.mark.usefixtures('mine')
def test_a_plain_function_learns_its_floats_and_keeps_decay_a_share():
    model = create_model(
        'ms_resnet8', neuron='mine', learnable='gain', learnable_decay=True, **SMALL
    )
    assert learned(model) == ['decay_logit', 'gain']
    assert learned(create_model('ms_resnet8', neuron='mine', **SMALL)) == []


@pytest.mark.usefixtures('mine')
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'neuron': 'adaptive'}, "unknown neuron 'adaptive'; did you mean adaptive_lif"),
        ({'neuron': 'mine', 'threshold': 0.7}, "threshold=0.7: the neuron 'mine' has no option"),
        ({'neuron': 'mine', 'surrogate': 'arctan'}, 'surrogate=arctan: .* keep the default'),
        ({'neuron': 'adaptive_lif', 'soft_reset': True}, 'soft_reset=True: the neuron'),
        (
            {'neuron': 'adaptive_lif', 'neuron_options': {'adaption': 0.2}},
            "no option 'adaption'; did you mean adaptation",
        ),
        ({'neuron_options': {'tau': 2.0}}, "'lif' has no option 'tau'; all of its options"),
        ({'neuron_options': {'width': 2.0}}, "set 'width' with the option 'surrogate_width'"),
        (
            {'neuron': 'mine', 'neuron_options': {'gain': 'high'}},
            "gain='high' must be a number",
        ),
        ({'neuron': 'bare'}, "'bare' has no default for 'gain'"),
        ({'neuron': 'mine', 'learnable': 'note'}, "'note' of the neuron 'mine' cannot be learned"),
        ({'learnable': 'decay'}, "set learnable_decay instead of 'decay'"),
        (
            {'neuron': 'mine', 'learnable_threshold': True},
            "'threshold' of the neuron 'mine' cannot be learned",
        ),
        (
            {
                'neuron': 'adaptive_lif',
                'learnable': 'adaptation_decay',
                'neuron_options': {'adaptation_decay': 1.0},
            },
            'adaptation_decay=1.0 must be above 0 and below 1',
        ),
    ],
)
def test_what_a_neuron_does_not_have_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_model('ms_resnet8', **options, **SMALL)


def test_options_of_another_type_are_refused():
    with pytest.raises(TypeError, match='neuron_options=3 must be options by name'):
        create_model('ms_resnet8', neuron_options=3)


def test_the_old_name_of_the_layer_has_its_options_as_attributes():
    current = jax.random.normal(jax.random.key(0), (2, 3, 2, 1, 1))
    old = LIF(3, decay=0.6, threshold=0.4, learnable_decay=True)
    assert isinstance(old, SpikingNeurons)
    variables = jax.jit(old.init)(jax.random.key(0), current)
    assert list(variables['params']) == ['decay_logit']
    options = old.all_options(variables['params'])
    assert (float(options['decay']), options['threshold']) == (pytest.approx(0.6), 0.4)


def test_a_neuron_says_what_can_be_learned():
    neuron = Neuron(functools.partial(scaled, note='x'), learnable=('gain',), shares=('gain',))
    assert neuron.options == {'decay': 0.5, 'gain': 2.0, 'note': 'x'}
    layer = SpikingNeurons(2, neuron, options={'gain': 0.5}, learnable=('gain',))
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.ones((1, 2, 1, 1, 1)))
    assert variables['params'] == {'gain_logit': 0}
