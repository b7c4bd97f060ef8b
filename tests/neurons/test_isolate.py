import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.neurons.isolate import isolate


def read_twice(x):
    y = isolate(lambda x: jnp.where(x > 0, jnp.sqrt(x), -x))(x + 1)
    return y.T * 2, y - 1


def test_computes_the_same():
    x = jnp.linspace(-3, 3, 12).reshape(3, 4)
    y = jnp.where(x + 1 > 0, jnp.sqrt(jnp.maximum(x + 1, 0)), -(x + 1))
    for found, expected in zip(jax.jit(read_twice)(x), (y.T * 2, y - 1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_is_one_call_on_cpus():
    program = jax.jit(read_twice).lower(jnp.ones((3, 4))).compile().as_text()
    assert program.count(' call(') == 1
    assert program.count(' sqrt(') == 1


@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
def test_is_behind_a_barrier_elsewhere(platform):
    traced = jax.jit(read_twice).trace(jnp.ones((3, 4)))
    there, here = (traced.lower(lowering_platforms=(name,)).as_text() for name in (platform, 'cpu'))
    assert 'optimization_barrier' in there
    assert 'inlineable' not in there
    assert 'optimization_barrier' not in here
    assert 'inlineable' in here
