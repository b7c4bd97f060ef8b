import chex
import jax
import jax.numpy as jnp
import pytest

from snnjax.models.convolution import Conv, _folded, _with_time, convolve


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3, 7])
def test_the_form_for_tpus_computes_what_the_folded_one_does(kernel_size, stride):
    x = jax.random.normal(jax.random.key(0), (2, 3, 9, 8, 4), 'float64')
    kernel = jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, 4, 5), 'float64')

    def outputs_and_gradients(form):
        y, pullback = jax.vjp(lambda x, kernel: form(x, kernel, stride), x, kernel)
        return y, pullback(jnp.cos(y))

    folded, with_time = outputs_and_gradients(_folded), outputs_and_gradients(_with_time)
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


def test_a_bias_is_added_to_each_channel():
    x = jnp.zeros((1, 2, 4, 4, 3))
    variables = Conv(5, 3, use_bias=True).init(jax.random.key(0), x)
    assert variables['params']['bias'].shape == (5,)
    variables['params']['bias'] = jnp.arange(5.0)
    y = Conv(5, 3, use_bias=True).apply(variables, x)
    chex.assert_trees_all_equal(y, jnp.broadcast_to(jnp.arange(5.0), y.shape))
    assert 'bias' not in Conv(5, 3).init(jax.random.key(0), x)['params']
