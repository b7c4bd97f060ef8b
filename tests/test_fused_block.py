"""Fused passes compute what the layers of the library do; kernels are interpreted here."""

import chex
import jax
import jax.numpy as jnp
import pytest

import snnjax
from benchmarks.fused_block import FORMS, fuse
from snnjax.neurons import lif

STREAMS = {'no stream': 0, 'a stream of one step': 1, 'a stream': 3}


def by_layers(y, slope, offset, *streams):
    current = (y.astype('float32') * slope + offset).astype(y.dtype)
    current = streams[0] + current if streams else current
    return (current, lif(current)) if streams else lif(current)


def in_eighths(key, shape, dtype):
    """Numbers with which all passes compute exactly, thresholds among them."""
    return jax.random.randint(key, shape, -12, 13).astype(dtype) / 8


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('steps_of_stream', STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize('form', FORMS)
def test_a_fused_pass_computes_what_the_layers_do(form, steps_of_stream, dtype):
    keys = jax.random.split(jax.random.key(0), 6)
    y = in_eighths(keys[0], (2, 3, 6, 4, 8), dtype)
    slope, offset = (in_eighths(key, (8,), 'float32') for key in keys[1:3])
    streams = [in_eighths(keys[3], (2, steps_of_stream, 6, 4, 8), dtype)]
    streams = streams if steps_of_stream else []
    fused = FORMS[form].add_and_fire if streams else FORMS[form].fire
    expected, expected_pullback = jax.vjp(by_layers, y, slope, offset, *streams)
    result, pullback = jax.vjp(fused, y, slope, offset, *streams)
    chex.assert_trees_all_equal(result, expected)
    cotangents = jax.tree.map(lambda x: jax.random.normal(keys[4], x.shape, x.dtype), expected)
    gradients, expected_gradients = (pull(cotangents) for pull in (pullback, expected_pullback))
    rounding = 1e-6 if dtype == 'float32' else 1e-2
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        size = float(jnp.max(jnp.abs(wanted)))
        chex.assert_trees_all_close(gradient, wanted, rtol=rounding, atol=rounding * size)


@pytest.mark.parametrize('form', FORMS)
def test_a_network_of_fused_blocks_takes_the_same_step(form):
    model = snnjax.create_model('ms_resnet8', num_steps=3, widths=(4, 4, 8))
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)

    def step(model, variables):
        def loss_of(params):
            logits, updates = model.apply(
                {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
            )
            return jnp.sum(jnp.sin(logits)), updates

        return jax.value_and_grad(loss_of, has_aux=True)(variables['params'])

    compiled = jax.jit(step, static_argnums=0)
    expected, result = compiled(model, variables), compiled(fuse(model, form), variables)
    chex.assert_trees_all_close(result, expected, atol=1e-5)


def test_kernels_are_lowered_for_gpus():
    y = jax.ShapeDtypeStruct((2, 6, 14, 14, 256), 'bfloat16')
    by_channel = jax.ShapeDtypeStruct((256,), 'float32')

    def gradient(*arrays):
        return jax.grad(lambda *a: jnp.sum(FORMS['pallas'].add_and_fire(*a)[1]))(*arrays)

    traced = jax.jit(gradient).trace(y, by_channel, by_channel, y)
    assert traced.lower(lowering_platforms=('cuda',)).as_text().count('triton') >= 2
