import functools

import chex
import jax
import jax.numpy as jnp
import pytest

from snnjax.models.convolution import (
    Conv,
    _folded,
    _of_images,
    _with_plain_gradients,
    _with_time,
    convolve,
)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3, 7])
def test_the_form_for_tpus_computes_what_the_folded_one_does(kernel_size, stride):
    x = jax.random.normal(jax.random.key(0), (2, 3, 9, 8, 4), 'float64')
    kernel = jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, 4, 5), 'float64')

    def outputs_and_gradients(form):
        y, pullback = jax.vjp(lambda x, kernel: form(x, kernel, stride), x, kernel)
        return y, pullback(jnp.cos(y))

    folded = outputs_and_gradients(functools.partial(_folded, of_images=_of_images))
    with_time = outputs_and_gradients(_with_time)
    assert folded[0].shape == (2, 3, -(-9 // stride), 8 // stride, 5)
    chex.assert_trees_all_close(with_time, folded, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(('platform', 'rank'), [('tpu', 5), ('cuda', 4), ('cpu', 4)])
def test_time_is_an_axis_of_the_convolution_on_tpus_only(platform, rank):
    x, kernel = jnp.ones((2, 3, 8, 8, 4)), jnp.ones((3, 3, 4, 5))
    traced = convolve.trace(x, kernel, 1)
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    lines = [line for line in program.splitlines() if 'stablehlo.convolution' in line]
    assert len(lines) == 1
    assert lines[0].count('[b, 0, 1, ' + ('2, f]' if rank == 5 else 'f]')) == 2


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(('kernel_size', 'height'), [(1, 7), (3, 8), (3, 2), (7, 9)])
def test_gradients_on_cpus_are_those_that_jax_derives_bit_for_bit(kernel_size, height, stride):
    x = jax.random.normal(jax.random.key(0), (3, height, 6, 2))
    kernel = jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, 2, 4))

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(form):
        y, pullback = jax.vjp(lambda x, kernel: form(x, kernel, stride), x, kernel)
        return y, pullback(jnp.cos(y))

    chex.assert_trees_all_equal(gradients(_with_plain_gradients), gradients(_of_images))


def test_gradients_on_cpus_are_convolutions_of_images_by_kernels():
    # XLA has fast ones for these roles of the axes only, within loops.
    x, kernel = jnp.ones((2, 3, 8, 8, 4)), jnp.ones((3, 3, 4, 5))
    traced = jax.jit(jax.grad(lambda *args: jnp.sum(convolve(*args, 2) ** 2), (0, 1))).trace(
        x, kernel
    )
    program = traced.lower(lowering_platforms=('cpu',)).as_text()
    lines = [line for line in program.splitlines() if 'stablehlo.convolution' in line]
    assert len(lines) == 3
    assert all('[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]' in line for line in lines)


def test_a_bias_is_added_to_each_channel():
    x = jnp.zeros((1, 2, 4, 4, 3))
    variables = Conv(5, 3, use_bias=True).init(jax.random.key(0), x)
    assert variables['params']['bias'].shape == (5,)
    variables['params']['bias'] = jnp.arange(5.0)
    y = Conv(5, 3, use_bias=True).apply(variables, x)
    chex.assert_trees_all_equal(y, jnp.broadcast_to(jnp.arange(5.0), y.shape))
    assert 'bias' not in Conv(5, 3).init(jax.random.key(0), x)['params']
