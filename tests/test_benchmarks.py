import chex
import jax
import jax.numpy as jnp
import pytest

import snnjax
from benchmarks.neuron_forms import FORMS, FUSED_BLOCKS, autodiff_lif
from snnjax.models.blocks import BLOCKS
from snnjax.neurons import NEURONS, lif


def normalize_and_fire(y, slope, offset):
    return lif((y.astype('float32') * slope + offset).astype(y.dtype))


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('form', FORMS)
def test_fused_neurons_compute_what_ours_do(form, dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    y = jax.random.normal(keys[0], (3, 6, 4, 6, 8), dtype)
    slope, offset = 0.5 + jax.random.uniform(keys[1], (8,)), jax.random.normal(keys[2], (8,))
    cotangent = jax.random.normal(keys[3], y.shape, dtype)
    expected, expected_pullback = jax.vjp(normalize_and_fire, y, slope, offset)
    spikes, pullback = jax.vjp(FORMS[form], y, slope, offset)
    chex.assert_trees_all_equal(spikes, expected)
    (gradient, *sums), (expected_gradient, *expected_sums) = (
        pull(cotangent) for pull in (pullback, expected_pullback)
    )
    rounding = 1e-6 if dtype == 'float32' else 1e-2
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=rounding)
    chex.assert_trees_all_close(sums, expected_sums, rtol=rounding, atol=20 * rounding)


def training_step(model, variables, images):
    """The step's program, and what it gives."""

    def loss_of(params):
        logits, updates = model.apply(
            {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
        )
        return jnp.sum(jnp.sin(logits)), updates

    traced = jax.jit(jax.value_and_grad(loss_of, has_aux=True)).trace(variables['params'])
    return str(traced.jaxpr), traced.lower().compile()(variables['params'])


@pytest.mark.parametrize('form', ['autodiff', *FUSED_BLOCKS])
def test_networks_of_other_forms_take_the_same_step(form, monkeypatch):
    model = snnjax.create_model('ms_resnet8', num_steps=3, widths=(4, 4, 8))
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    our_program, expected = training_step(model, variables, images)
    if form == 'autodiff':
        monkeypatch.setitem(NEURONS, 'lif', autodiff_lif)
    else:
        monkeypatch.setitem(BLOCKS, 'ms', FUSED_BLOCKS[form])
    program, step = training_step(model, variables, images)
    assert program != our_program
    chex.assert_trees_all_close(step, expected, atol=1e-5)
