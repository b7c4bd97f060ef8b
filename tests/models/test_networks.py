import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model


@functools.cache
def small_network(**options):
    """A network with its variables, for 8x8 images."""
    model = create_model('ms_resnet8', num_classes=4, **options)
    image = jnp.zeros((1, 8, 8, model.in_channels))
    return model, jax.jit(model.init)(jax.random.key(0), image)


@functools.partial(jax.jit, static_argnums=0)
def training_gradient(model, variables, images):
    def loss(params):
        logits, updates = model.apply(
            {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
        )
        return jnp.sum(logits * jnp.arange(4.0)), (logits, updates)

    return jax.value_and_grad(loss, has_aux=True)(variables['params'])


def test_a_static_image_is_the_same_as_the_image_repeated():
    model, variables = small_network(num_steps=3)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    static = training_gradient(model, variables, images)
    repeated = training_gradient(model, variables, jnp.repeat(images[:, None], 3, axis=1))
    chex.assert_trees_all_close(static, repeated, rtol=1e-4, atol=1e-5)


def test_the_stem_runs_once_for_a_static_image():
    model, variables = small_network(num_steps=5)
    program = jax.jit(model.apply).lower(variables, jnp.zeros((2, 8, 8, 3))).as_text()
    batches = re.findall(r'stablehlo\.convolution.*: \(tensor<(\d+)x', program)
    # The stem; then the two convolutions of each block, and the shortcuts of two.
    assert sorted(map(int, batches)) == [2] + [2 * 5] * 8


def test_logits_are_float32_for_bfloat16_activations():
    model, variables = small_network(num_steps=2, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    logits, updates = jax.eval_shape(
        functools.partial(model.apply, train=True, mutable=['batch_stats']),
        variables,
        jnp.zeros((2, 8, 8, 3)),
    )
    chex.assert_shape(logits, (2, 4))
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, updates))} == {jnp.dtype('float32')}


def test_six_time_steps_where_nothing_is_said():
    model, variables = small_network()
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    six, _ = small_network(num_steps=6)
    np.testing.assert_array_equal(
        jax.jit(model.apply)(variables, images), jax.jit(six.apply)(variables, images)
    )


def test_a_sequence_brings_its_own_time_steps():
    model, variables = small_network()
    logits = jax.eval_shape(model.apply, variables, jnp.zeros((2, 7, 8, 8, 3)))
    chex.assert_shape(logits, (2, 4))


@pytest.mark.parametrize(
    ('shape', 'dtype', 'error', 'message'),
    [
        ((2, 8, 8, 3), jnp.uint8, TypeError, 'images must be floating and normalised, got uint8'),
        ((8, 8, 3), jnp.float32, ValueError, r'got \(8, 8, 3\)'),
        ((2, 8, 8, 1), jnp.float32, ValueError, 'have 1 channels, the model has in_channels=3'),
        ((2, 4, 8, 8, 3), jnp.float32, ValueError, 'have 4 time steps, the model has num_steps=3'),
    ],
)
def test_refuses_other_images(shape, dtype, error, message):
    model, variables = small_network(num_steps=3)
    with pytest.raises(error, match=message):
        jax.eval_shape(model.apply, variables, jnp.zeros(shape, dtype))
