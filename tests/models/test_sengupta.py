import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.params import by_name
from snnjax.weights.folder import open_weights, save_weights

SMALL = {'blocks': (2, 1), 'widths': (4, 6), 'strides': (1, 2), 'num_classes': 3}


@pytest.fixture(scope='module')
def network():
    model = create_model('sengupta_resnet20', **SMALL)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


def test_has_kernels_only(network):
    _, variables = network
    assert list(variables) == ['params']
    assert {key.rpartition('/')[2] for key in by_name(variables)} == {'kernel'}
    # 16 pixels of 6 channels.
    assert variables['params']['classifier']['kernel'].shape == (96, 3)


def test_logits_are_proportional_to_the_images(network):
    """There is nothing that could add to them."""
    model, variables = network
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    logits = jax.jit(model.apply)
    np.testing.assert_allclose(
        logits(variables, 2 * images), 2 * logits(variables, images), rtol=1e-5
    )


def test_training_leaves_out_within_the_stem_and_within_blocks(network):
    model, variables = network
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))

    @jax.jit
    def logits(key):
        return model.apply(variables, images, train=True, rngs={'dropout': key})

    assert not np.allclose(logits(jax.random.key(2)), logits(jax.random.key(3)))


def test_weights_without_statistics_come_back_as_they_were_written(network, tmp_path):
    _, variables = network
    save_weights(tmp_path, variables, 'sengupta_resnet20', SMALL)
    model, back = open_weights(tmp_path)
    assert model.conv_dropout == 0.2
    assert back['batch_stats'] == {}
    for key, leaf in by_name(variables).items():
        np.testing.assert_array_equal(by_name(back)[key], leaf)


def test_images_too_small_for_the_pooling_are_refused():
    with pytest.raises(ValueError, match='images of 1x8 are too small'):
        create_model('sengupta_resnet20', **SMALL).check_size(1, 8)
