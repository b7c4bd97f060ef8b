import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.analysis.isometry import scale_residuals
from snnjax.analysis.similarity import measure_similarity, ssim
from snnjax.analysis.trained import UnsuitableModelError, open_initial


def test_ssim_is_equation_9(x64):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 4, 4, 5))
    for one, other, value in zip(x, y, ssim(jnp.asarray(x), jnp.asarray(y)), strict=True):
        covariance = np.cov(one.ravel(), other.ravel(), ddof=0)
        expected = (
            (2 * one.mean() * other.mean() + 1e-4)
            * (2 * covariance[0, 1] + 9e-4)
            / (one.mean() ** 2 + other.mean() ** 2 + 1e-4)
            / (covariance[0, 0] + covariance[1, 1] + 9e-4)
        )
        assert value == pytest.approx(expected, rel=1e-12)


def test_ssim_is_one_for_equal_maps_only():
    x = jax.random.bernoulli(jax.random.key(0), 0.3, (2, 8, 8, 4)).astype(jnp.float32)
    assert ssim(x, x).tolist() == [1, 1]
    assert float(ssim(x, x.at[0, 0, 0, 0].set(1 - x[0, 0, 0, 0]))[0]) < 1
    assert float(ssim(x, 1 - x)[0]) < 0


def test_ssim_of_bfloat16_maps_is_that_of_their_values():
    x = jax.random.uniform(jax.random.key(0), (2, 2, 8, 8, 4)).astype(jnp.bfloat16)
    ours, expected = ssim(*x), ssim(*x.astype(jnp.float32))
    assert ours.dtype == jnp.float32
    np.testing.assert_array_equal(ours, expected)


def test_similarity_of_a_bfloat16_network_is_not_rounded():
    trained = open_initial('ms_resnet8', {'name': 'digits'}, num_steps=3, images=8, batch_size=8)
    stats = jax.tree.map(lambda x: 0.2 * x, trained.variables['batch_stats'])
    trained = dataclasses.replace(trained, variables={**trained.variables, 'batch_stats': stats})
    model = trained.inference.model.clone(dtype='bfloat16')
    inference = dataclasses.replace(trained.inference, model=model)
    rounded = measure_similarity(dataclasses.replace(trained, inference=inference))
    for exact, found in zip(measure_similarity(trained), rounded, strict=True):
        if exact.ssim is not None:
            assert found.ssim.dtype == np.float32
            assert found.mean == pytest.approx(exact.mean, abs=0.02)
            assert np.any(found.ssim.astype(jnp.bfloat16) != found.ssim)


@pytest.mark.parametrize('name', ['ms_resnet14', 'vanilla_resnet14'])
def test_blocks_that_add_nothing_leave_every_rate_as_it_is(name):
    trained = open_initial(name, {'name': 'digits'}, num_steps=2, images=16, batch_size=16)
    # As after some training, so that neurons fire in all layers.
    stats = jax.tree.map(lambda x: 0.2 * x, trained.variables['batch_stats'])
    variables = {**trained.variables, 'batch_stats': stats}
    trained = dataclasses.replace(trained, variables=variables)
    before = measure_similarity(trained)
    # Those that change the resolution have no similarity.
    assert [block.block for block in before if block.ssim is None] == [
        'stage2/block1',
        'stage3/block1',
    ]
    assert not any(block.unchanged for block in before)
    assert all(-1 <= block.mean < 1 for block in before if block.ssim is not None)

    nothing = dataclasses.replace(trained, variables=scale_residuals(trained.variables, 0.0))
    after = {block.block: block for block in measure_similarity(nothing)}
    for name in ('stage1/block2', 'stage2/block2', 'stage3/block2'):
        assert after[name].unchanged
        np.testing.assert_array_equal(after[name].ssim, np.ones(16, np.float32))


def test_a_stream_without_neurons_has_no_similarity():
    trained = open_initial('wo_lif_resnet8', {'name': 'digits'}, num_steps=1, images=8)
    with pytest.raises(UnsuitableModelError, match='WithoutInterBlockLIF'):
        measure_similarity(trained)
