import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models import mean_firing_rate
from snnjax.models.params import by_name, stack_layers
from snnjax.models.resnets import REMATERIALIZATION


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
        ((2, 8, 8, 3), jnp.uint8, TypeError, 'floating-point values, got uint8'),
        ((8, 8, 3), jnp.float32, ValueError, r'got \(8, 8, 3\)'),
        ((2, 8, 8, 1), jnp.float32, ValueError, 'is 1, but the model has in_channels=3'),
        ((2, 4, 8, 8, 3), jnp.float32, ValueError, 'is 4, but the model has num_steps=3'),
    ],
)
def test_refuses_other_images(shape, dtype, error, message):
    model, variables = small_network(num_steps=3)
    with pytest.raises(error, match=message):
        jax.eval_shape(model.apply, variables, jnp.zeros(shape, dtype))


@functools.cache
def deep_network(**options):
    """A network with repeated blocks in its first two stages."""
    options = {'blocks': (3, 4), 'widths': (4, 4), 'strides': (1, 2), 'num_steps': 2} | options
    return small_network(**options)


@pytest.mark.parametrize('remat', REMATERIALIZATION)
def test_scanned_and_rematerialised_layers_compute_the_same(remat):
    model, variables = deep_network()
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    (loss, (logits, updates)), gradient = training_gradient(model, variables, images)
    scanned = model.clone(scan_layers=True, remat=remat)
    (other_loss, (other_logits, other_updates)), other_gradient = training_gradient(
        scanned, stack_layers(variables), images
    )
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-5)
    close((loss, logits), (other_loss, other_logits))
    close(stack_layers(updates), other_updates)
    close(stack_layers(gradient), other_gradient)


def kept_bytes(remat):
    """What the forward pass keeps for the backward pass beside the variables."""
    model, variables = deep_network()
    model = model.clone(remat=remat)
    images = jnp.zeros((2, 8, 8, 3))

    def loss(params):
        logits, _ = model.apply(
            variables | {'params': params}, images, train=True, mutable=['batch_stats']
        )
        return logits.sum()

    residuals = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], variables['params'])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals))


def test_rematerialisation_keeps_less():
    kept = {remat: kept_bytes(remat) for remat in REMATERIALIZATION}
    assert kept['nothing'] > 1.5 * kept['elementwise']
    assert kept['elementwise'] > 1.2 * kept['blocks']


def test_scanned_layers_are_initialized_one_by_one():
    scanned = deep_network()[0].clone(scan_layers=True)
    variables = jax.jit(scanned.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    kernels = variables['params']['stage2']['repeated']['conv1']['conv']['kernel']
    assert kernels.shape == (3, 3, 3, 4, 4)
    assert not np.array_equal(kernels[0], kernels[1])
    expected = jax.eval_shape(stack_layers, deep_network()[1])
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, expected)


def test_firing_rates_do_not_depend_on_scanning():
    model, variables = deep_network()
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    rates = []
    for m, v in [
        (model, variables),
        (model.clone(scan_layers=True), stack_layers(variables)),
    ]:
        run = jax.jit(functools.partial(m.apply, mutable=['firing_rates']))
        rates.append(mean_firing_rate(run(v, images)[1]['firing_rates']))
    chex.assert_shape(rates[0], (2,))
    np.testing.assert_allclose(*rates, rtol=1e-5)
    assert np.all(rates[0] > 0)


def test_scanning_is_chosen_by_the_machine():
    assert not create_model('ms_resnet20', scan_layers='auto').scans_layers  # Tests run on CPU.
    assert create_model('ms_resnet20', scan_layers=True).scans_layers


def test_the_deepest_network_takes_a_step_with_gradients_at_every_depth():
    model = create_model('ms_resnet482', num_classes=4, num_steps=1, scan_layers=True)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    (_, (logits, _)), gradient = training_gradient(model, variables, images)
    chex.assert_tree_all_finite((logits, gradient))
    for stage in ('stage1', 'stage2', 'stage3'):
        repeated = gradient[stage]['repeated']['conv1']['conv']['kernel']
        assert repeated.shape[0] == 79
        assert np.all(np.abs(repeated).sum(axis=(1, 2, 3, 4)) > 0)


def test_the_size_of_a_scanned_program_does_not_grow_with_depth():
    def lines(name):
        model = create_model(name, num_classes=4, num_steps=1, scan_layers=True)
        images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        return training_gradient.lower(model, variables, images).as_text().count('\n')

    assert lines('ms_resnet482') == lines('ms_resnet20')


def test_weights_run_at_any_number_of_time_steps():
    one, variables = small_network(num_steps=1)
    images = 9 * jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    logits = {}
    for num_steps in (1, 5, 6):
        model = one.clone(num_steps=num_steps)
        logits[num_steps] = jax.jit(model.apply)(variables, images)
    assert not np.allclose(logits[1], logits[6])
    chex.assert_tree_all_finite(logits)


@pytest.mark.parametrize('name', ['ms_resnet18', 'ms_resnet104'])
@pytest.mark.parametrize('size', [32, 128, 224, 288])
def test_takes_any_size_that_the_strides_divide(name, size):
    model = create_model(name, num_steps=2)
    logits, _ = jax.eval_shape(
        model.init_with_output, jax.random.key(0), jnp.zeros((1, size, size, 3))
    )
    chex.assert_shape(logits, (1, 1000))


def test_refuses_a_size_that_pooling_cannot_halve():
    model = create_model('ms_resnet104', num_steps=2)
    with pytest.raises(ValueError, match='activations of 25x25 cannot be pooled by 2'):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 100, 100, 3)))


def test_learnable_neurons_get_gradients():
    model, variables = small_network(num_steps=3, learnable_decay=True, learnable_threshold=True)
    neurons = variables['params']['stage1']['block1']['spike1']
    np.testing.assert_allclose(jax.nn.sigmoid(neurons['decay_logit']), 0.25, rtol=1e-6)
    assert neurons['threshold'] == 0.5
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    _, gradient = training_gradient(model, variables, images)
    for stage in ('stage1', 'stage2', 'stage3'):
        for leaf in jax.tree.leaves(gradient[stage]['block1']['spike2']):
            assert leaf.shape == ()
            assert leaf != 0


def test_zero_init_residual_starts_every_residual_path_at_nothing():
    scales = {
        jax.tree_util.keystr(path): set(np.unique(leaf))
        for path, leaf in jax.tree.leaves_with_path(
            small_network(num_steps=3, zero_init_residual=True)[1]['params']
        )
        if 'scale' in jax.tree_util.keystr(path)
    }
    for path, values in scales.items():
        assert values == ({0.0} if 'conv2' in path else {0.5}), path


def test_dropout_acts_in_training_only():
    model, variables = small_network(num_steps=2, dropout=0.5)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))

    @functools.partial(jax.jit, static_argnums=0)
    def logits(train, seed):
        out, _ = model.apply(
            variables,
            images,
            train=train,
            mutable=['batch_stats'],
            rngs={'dropout': jax.random.key(seed)},
        )
        return out

    assert not np.allclose(logits(True, 0), logits(True, 1))
    np.testing.assert_array_equal(logits(False, 0), logits(False, 1))


def test_every_scale_of_an_ann_starts_at_one():
    model = create_model('ann_resnet8', num_classes=4, stem='conv3x3x3')
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))['params']
    scales = [leaf for path, leaf in by_name(params).items() if path.endswith('/scale')]
    assert len(scales) > 3
    assert all(np.all(scale == 1) for scale in scales)


def test_an_ann_has_no_time_and_counts_active_units():
    model = create_model('ann_resnet8', num_classes=4)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    run = jax.jit(functools.partial(model.apply, mutable=['firing_rates']))
    logits, updates = run(variables, images)
    repeated, _ = run(variables, jnp.repeat(images[:, None], 3, axis=1))
    np.testing.assert_allclose(logits, repeated, rtol=1e-4, atol=1e-5)
    rates = mean_firing_rate(updates['firing_rates'])
    assert np.all((rates > 0.2) & (rates < 0.9))
