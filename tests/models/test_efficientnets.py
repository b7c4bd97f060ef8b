import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.activations import Sigmoid, Swish
from snnjax.models.efficientnets import InvertedBottleneck, SqueezeExcite
from snnjax.models.layers import ConvNorm
from snnjax.models.observation import capture_layers

SMALL = {
    'blocks': (1, 2),
    'widths': (8, 8),
    'strides': (1, 2),
    'kernels': (3, 5),
    'expansions': (1, 2),
    'stem_width': 8,
    'num_classes': 3,
}


def initialized(**options):
    model = create_model('efficientnet_b0', **SMALL | options)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_the_largest_has_218_activations_and_the_published_parameters():
    model = create_model('efficientnet_b7')
    with capture_layers(Swish, Sigmoid) as calls:
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes['params'])) == 66_347_960
    counts = collections.Counter(type(call.module) for call in calls)
    assert counts == {Swish: 163, Sigmoid: 55}


def test_training_skips_the_blocks_of_whole_images():
    conv_norm = functools.partial(ConvNorm, epsilon=1e-3)
    block = InvertedBottleneck(4, 3, 1, 2, conv_norm, Swish, Sigmoid, skipped=0.75, train=True)
    x = jax.random.normal(jax.random.key(1), (16, 2, 4, 4, 4))
    variables = block.init(jax.random.key(0), x)
    whole = block.clone(train=False).apply(variables, x) - x
    added = block.apply(variables, x, rngs={'dropout': jax.random.key(3)}) - x
    shares = np.sum(added * whole, axis=(1, 2, 3, 4)) / np.sum(whole**2, axis=(1, 2, 3, 4))
    # Nothing, or what is left of it on average.
    assert set(np.asarray(shares).round(3)) == {0, 4}


def test_the_share_of_skipped_images_rises_with_depth():
    model, variables = initialized(stochastic_depth=0.6)
    with capture_layers(InvertedBottleneck) as calls:
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 8, 8, 3)))
    np.testing.assert_allclose([call.module.skipped for call in calls], [0.0, 0.2, 0.4])


def test_gates_scale_channels():
    layer = SqueezeExcite(2, Swish, Sigmoid)
    x = jax.random.normal(jax.random.key(0), (2, 1, 4, 4, 6))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, layer.init(jax.random.key(1), x))
    weights = variables['params']
    hidden = np.mean(x, (2, 3)) @ weights['squeeze']['kernel'][0, 0] + weights['squeeze']['bias']
    hidden = hidden / (1 + np.exp(-hidden))
    scales = hidden @ weights['excite']['kernel'][0, 0] + weights['excite']['bias']
    expected = x / (1 + np.exp(-scales))[:, :, None, None]
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'gate': 'sigmoidal'}, "unknown gate 'sigmoidal'; did you mean sigmoid"),
        ({'kernels': (3, 4)}, r'kernels=\(3, 4\) must be odd'),
        ({'strides': (1,)}, 'must each have one number per stage'),
        ({'stochastic_depth': 1.0}, 'stochastic_depth=1.0 must be'),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        create_model('efficientnet_b0', **SMALL | options)
