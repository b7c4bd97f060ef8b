import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.pooling import AdaptiveAveragePool
from snnjax.models.summary import summarize

NARROW = {'blocks': (1, 2), 'widths': (4, 6), 'hidden': (8,), 'num_classes': 3}


def layers_of(name, size, **options):
    return [layer.name for layer in summarize(create_model(name, **options), (size, size, 3))]


def test_layers_come_in_the_order_of_their_numbers():
    assert layers_of('vgg16', 8, grid=0, **NARROW) == [
        *('conv1/conv', 'spike1', 'conv2/conv', 'spike2', 'conv3/conv', 'spike3'),
        *('dense1', 'dense_spike1', 'classifier'),
    ]


def test_images_of_all_sizes_have_the_same_weights_with_a_grid():
    model = create_model('vgg16_bn', **NARROW)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    for size in (5, 40):
        assert model.apply(variables, jnp.ones((2, size, size, 3))).shape == (2, 3)


def test_windows_of_the_grid_cover_all_pixels_and_overlap():
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 3, 2)).astype(np.float32)
    y = AdaptiveAveragePool(4).apply({}, x)
    rows, columns = [(0, 2), (1, 3), (2, 4), (3, 5)], [(0, 1), (0, 2), (1, 3), (2, 3)]
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            expected = x[:, :, top:bottom, left:right].mean((2, 3))
            np.testing.assert_allclose(y[:, :, i, j], expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_left_out_where_pooling_follows():
    model = create_model('sengupta_vgg16', conv_dropout=0.5, **NARROW | {'hidden': ()})
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    assert list(variables) == ['params']
    images = jax.random.normal(jax.random.key(1), (1, 8, 8, 3))

    def logits(key):
        return jax.jit(lambda: model.apply(variables, images, train=True, rngs={'dropout': key}))()

    one, two = jax.random.split(jax.random.key(2))
    assert not np.array_equal(logits(one), logits(two))
    # With one convolution a stage, and pooling after each, nothing is left out.
    model = model.clone(blocks=(1, 1), pool_last=True, dropout=0.0)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    np.testing.assert_array_equal(logits(one), logits(two))


def test_a_spiking_vgg_takes_the_weights_of_an_ann():
    model = create_model('vgg16_cifar', num_steps=3, **NARROW)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    spiking = model.clone(activation='', step_logits=True)
    assert jax.jit(spiking.apply)(variables, jnp.ones((2, 8, 8, 3))).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'pooling': 'mean'}, "unknown pooling 'mean'"),
        ({'blocks': (1,)}, 'must each have one number per stage'),
        ({'grid': -1}, 'grid=-1 must be at least 0'),
        ({'conv_dropout': 1.0}, 'conv_dropout=1.0 must be at least 0 and below 1'),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        create_model('vgg16', **options)


def test_images_too_small_for_the_pooling_are_refused():
    with pytest.raises(ValueError, match='images of 3x8 are too small'):
        create_model('vgg16', **NARROW).init(jax.random.key(0), jnp.zeros((1, 3, 8, 3)))
