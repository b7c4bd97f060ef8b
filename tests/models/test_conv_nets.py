import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.network import Network
from snnjax.models.summary import spiking_macs, summarize

NARROW = {'channels': (4, 4), 'pools': (2, 2), 'hidden': (12,), 'num_classes': 3}


def initialized(name, images, **options):
    model = create_model(name, in_channels=images.shape[-1], **NARROW | options)
    return model, jax.jit(model.init)(jax.random.key(0), images)


@pytest.mark.parametrize('name', ['plif_cifar10', 'ta_snn'])
def test_a_logit_is_the_rate_of_its_voters(name):
    images = jax.random.normal(jax.random.key(1), (2, 5, 8, 8, 2))
    model, variables = initialized(name, images)
    # Inference with the statistics of this batch, so that neurons fire.
    _, updates = jax.jit(
        lambda v: model.clone(dropout=0.0).apply(v, images, train=True, mutable=['batch_stats'])
    )(variables)
    variables = variables | updates
    rates = jax.jit(model.apply)(variables, images)
    votes = jax.jit(model.clone(step_logits=True).apply)(variables, images)
    assert votes.shape == (2, 5, 3)
    np.testing.assert_allclose(votes.mean(1), rates, rtol=1e-6)
    counts = np.asarray(votes) * model.voters
    np.testing.assert_allclose(counts, counts.round(), atol=1e-5)
    assert 0 <= rates.min() <= rates.max() <= 1


def test_dropout_leaves_out_the_same_in_all_time_steps():
    class Dropout(Network):
        @nn.compact
        def __call__(self, x):
            return self.apply_dropout(x, train=True)

    x = jnp.ones((4, 6, 1, 1, 50))
    out = Dropout(dropout=0.5).apply({}, x, rngs={'dropout': jax.random.key(0)})
    assert set(np.unique(out)) == {0, 2}
    np.testing.assert_array_equal(out, jnp.broadcast_to(out[:, :1], out.shape))


@pytest.mark.parametrize('name', ['plif_cifar10', 'ta_snn'])
def test_a_static_image_is_the_same_as_the_image_repeated(name):
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    repeated = jnp.repeat(images[:, None], 6, axis=1)
    model, variables = initialized(name, repeated)

    @jax.jit
    def rates_and_gradient(images):
        def mean(params):
            rates, _ = model.clone(dropout=0.0).apply(
                variables | {'params': params}, images, train=True, mutable=['batch_stats']
            )
            return jnp.sum(rates * jnp.arange(3.0)), rates

        return jax.grad(mean, has_aux=True)(variables['params'])

    for ours, expected in zip(
        jax.tree.leaves(rates_and_gradient(images)),
        jax.tree.leaves(rates_and_gradient(repeated)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_layers_behind_pooled_and_flattened_spikes_see_spikes():
    layers = summarize(create_model('plif_nmnist'), (10, 34, 34, 2))
    seen = {layer.name: layer.input for layer in layers if layer.input}
    assert seen == {
        'conv1/conv': 'real',
        'conv2/conv': 'spikes',
        'dense1': 'spikes',
        'dense2': 'spikes',
    }
    macs = 9 * 128 * 128 * 17 * 17 + 128 * 8 * 8 * 2048 + 2048 * 100
    assert spiking_macs(layers) == macs


def test_what_is_added_up_is_not_taken_for_spikes():
    model = create_model('sew_resnet8', blocks=(2, 1, 1), max_pool=True, num_steps=2)
    layers = summarize(model, (16, 16, 3))
    seen = {layer.name: layer.input for layer in layers if layer.input}
    assert seen['stage1/block1/conv1/conv'] == 'spikes'
    assert seen['stage1/block2/conv1/conv'] == 'real'
    assert seen['stage1/block2/conv2/conv'] == 'spikes'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'pooling': 'maximum'}, "unknown pooling 'maximum'; did you mean max"),
        ({'pools': (2,)}, 'must each have one number per convolution'),
        ({'voters': 0}, 'voters=0 must be at least 1'),
        ({'attention': -1}, 'attention=-1 must be at least 0'),
        ({'decay': 1.0}, 'decay=1.0 must be above 0 and below 1 to be learned'),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        create_model('plif_cifar10', **NARROW | options)


def test_images_too_small_for_the_pooling_are_refused():
    with pytest.raises(ValueError, match='images of 2x8 are too small'):
        initialized('plif_cifar10', jnp.zeros((1, 2, 8, 3)))
