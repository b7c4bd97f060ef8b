import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.models import mean_firing_rate
from snnjax.models.layers import LIF, TDBN, ConvNorm
from snnjax.models.pooling import MaxPool
from snnjax.neurons import lif


def test_tdbn_normalizes_over_batch_time_and_space_to_the_threshold():
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (4, 3, 5, 5, 2))
    layer = TDBN(train=True)
    y, updates = layer.apply(layer.init(jax.random.key(0), x), x, mutable=['batch_stats'])
    np.testing.assert_allclose(y.mean((0, 1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2, 3)), 0.5, rtol=1e-4)
    stats = updates['batch_stats']
    np.testing.assert_allclose(stats['mean'], 0.1 * x.mean((0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * x.var((0, 1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ('mean', 'rtol'), [(0, 1e-5), (300, 1e-3), (3000, 1e-3), (-3000, 1e-3), (1e5, 2e-2)]
)
def test_tdbn_normalizes_values_far_from_zero(mean, rtol):
    """Outputs and the gradient, against float64; the error is that of the products in float32."""
    x = mean + np.random.default_rng(0).normal(size=(4, 2, 6, 6, 3)).astype(np.float32)
    cotangent = np.random.default_rng(1).normal(size=x.shape)
    norm = TDBN(True, initial_scale=1.0)
    variables = norm.init(jax.random.key(0), x)

    def normalized(x):
        return norm.apply(variables, x, mutable=['batch_stats'])

    y, pull, updates = jax.vjp(normalized, jnp.asarray(x), has_aux=True)
    x = x.astype(np.float64)
    axes = (0, 1, 2, 3)
    deviation = np.sqrt(x.var(axes) + 1e-5)
    expected = (x - x.mean(axes)) / deviation
    np.testing.assert_allclose(y, expected, atol=4 * rtol)
    np.testing.assert_allclose(y.std(), 1, rtol=rtol)
    np.testing.assert_allclose(updates['batch_stats']['var'], 0.9 + 0.1 * x.var(axes), rtol=1e-5)
    gradient = cotangent - cotangent.mean(axes) - expected * (cotangent * expected).mean(axes)
    (found,) = pull(jnp.asarray(cotangent, jnp.float32))
    np.testing.assert_allclose(found, gradient / deviation, atol=20 * rtol)


def test_moments_of_bfloat16_are_those_of_its_values_in_float32():
    x = jax.random.normal(jax.random.key(0), (4, 1, 8, 8, 2)).astype(jnp.bfloat16) + 3
    layer = TDBN(train=True)
    _, updates = layer.apply(layer.init(jax.random.key(0), x), x, mutable=['batch_stats'])
    x = np.asarray(x, np.float64)
    stats = updates['batch_stats']
    np.testing.assert_allclose(stats['mean'], 0.1 * x.mean((0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * x.var((0, 1, 2, 3)), rtol=1e-5)


def test_an_empty_batch_changes_no_statistics():
    layer, x = TDBN(train=True), jnp.zeros((0, 1, 4, 4, 2))
    variables = layer.init(jax.random.key(0), x)
    y, updates = layer.apply(variables, x, mutable=['batch_stats'])
    assert y.shape == x.shape
    assert jax.tree.all(
        jax.tree.map(np.array_equal, updates, {'batch_stats': variables['batch_stats']})
    )


def test_tdbn_uses_running_statistics_in_inference():
    x = jnp.ones((1, 1, 1, 1, 2))
    variables = {
        'params': {'scale': jnp.array([0.5, 2.0]), 'bias': jnp.array([0.0, 1.0])},
        'batch_stats': {'mean': jnp.array([0.0, 1.0]), 'var': jnp.array([4.0, 1.0])},
    }
    y = TDBN(train=False).apply(variables, x)
    np.testing.assert_allclose(y.ravel(), [0.25, 1.0], rtol=1e-5)


def test_tdbn_keeps_statistics_and_parameters_in_float32():
    x = jnp.ones((2, 2, 4, 4, 3), jnp.bfloat16)
    layer = TDBN(train=True)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3])
def test_conv_norm_pads_evenly_on_both_sides(kernel_size, stride):
    layer = ConvNorm(4, kernel_size, stride)
    x = jax.random.normal(jax.random.key(0), (1, 1, 9, 9, 2))
    variables = layer.init(jax.random.key(1), x)
    y = layer.apply(variables, x)
    assert y.shape == (1, 1, -(-9 // stride), -(-9 // stride), 4)
    # With even padding, a mirrored image and a mirrored kernel give the mirrored result.
    mirrored = jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim == 4 else leaf, variables)
    np.testing.assert_allclose(layer.apply(mirrored, x[:, :, ::-1])[:, :, ::-1], y, atol=1e-5)


def test_lif_layer_presents_a_constant_current_for_all_steps():
    current = jax.random.normal(jax.random.key(0), (2, 1, 4, 4, 3))
    layer = LIF(num_steps=5)
    spikes, updates = layer.apply({}, current, mutable=['firing_rates'])
    np.testing.assert_array_equal(spikes, lif(jnp.repeat(current, 5, axis=1)))
    rates = updates['firing_rates']
    np.testing.assert_allclose(rates['rate'], spikes.mean((1, 2, 3, 4)), rtol=1e-6)
    assert rates['neurons'] == 4 * 4 * 3


def test_mean_firing_rate_weighs_layers_by_their_neurons():
    def always(current, **constants):
        return jnp.ones_like(current)

    def never(current, **constants):
        return jnp.zeros_like(current)

    x = jnp.ones((2, 3, 2, 2, 1))
    rates = {
        'a': LIF(3, always).apply({}, x, mutable=['firing_rates'])[1]['firing_rates'],
        'b': {
            'c': LIF(3, never).apply({}, x[:, :, :1], mutable=['firing_rates'])[1]['firing_rates']
        },
    }
    np.testing.assert_allclose(mean_firing_rate(rates), [4 / 6, 4 / 6])


@pytest.mark.parametrize(('size', 'stride'), [(2, None), (3, 2), (3, None)])
def test_the_largest_of_spikes_and_its_gradient_are_those_of_xla_windows(size, stride):
    spikes = jax.random.bernoulli(jax.random.key(0), 0.3, (2, 3, 7, 8, 2)).astype(jnp.float32)
    pads = ((0, 0), (1, 1), (1, 1)) if stride else ((0, 0),) * 3

    def windows(x):
        steps = stride or size
        return nn.max_pool(x, (1, size, size), (1, steps, steps), pads)

    ours, pull = jax.vjp(lambda x: MaxPool(size, stride).apply({}, x), spikes)
    expected, pull_expected = jax.vjp(windows, spikes)
    np.testing.assert_array_equal(ours, expected)
    cotangent = jax.random.normal(jax.random.key(1), ours.shape)
    np.testing.assert_array_equal(pull(cotangent)[0], pull_expected(cotangent)[0])
