import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from snnjax.train.gradients import clip_by_norm, scaled_norm


def gradient(scale):
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(rng.normal(size=size) * scale, jnp.float32)
        for name, size in {'kernel': (3, 5), 'bias': (4,)}.items()
    }


def clipped(update, by):
    # As training does: what is compiled is not always computed in the order that it is written in.
    return jax.jit(lambda update: by.update(update, by.init(update))[0])(update)


@pytest.mark.parametrize('scale', [0.0, 1e-44, 1e-30, 1e-3, 1.0, 1e10])
def test_clips_to_the_bits_of_optax_where_its_norm_is_finite(scale):
    ours, theirs = (
        clipped(gradient(scale), by) for by in (clip_by_norm(0.5), optax.clip_by_global_norm(0.5))
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


@pytest.mark.parametrize('scale', [1e20, 1e30, 3e37])
def test_a_gradient_whose_squares_overflow_is_scaled_down(scale):
    found = clipped(gradient(scale), clip_by_norm(0.5))
    expected = clipped(gradient(1.0), clip_by_norm(0.5))
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


@pytest.mark.parametrize('magnitude', [1e20, 1e37, 8e37, 1e38, 1.8e38, 3e38])
@pytest.mark.parametrize('count', [1, 2, 1000])
def test_the_largest_numbers_are_scaled_down(magnitude, count):
    found = clipped({'kernel': jnp.full(count, magnitude)}, clip_by_norm(0.5))
    np.testing.assert_allclose(found['kernel'], 0.5 / np.sqrt(count), rtol=1e-5)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_does_not_become_zero(value):
    wrong = gradient(1.0)
    wrong['bias'] = wrong['bias'].at[1].set(value)
    assert not np.isfinite(clipped(wrong, clip_by_norm(0.5))['bias']).all()


def test_norms_are_in_units_that_do_not_overflow():
    exponent, norm = scaled_norm([jnp.full(4, 1e30)])
    assert 2.0 ** int(exponent) * float(norm) == pytest.approx(2e30)
