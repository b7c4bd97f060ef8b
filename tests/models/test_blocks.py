"""Blocks against their formulas, in inference with statistics that change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.models.blocks import BLOCKS, LIFBeforeAdditionBlock, MSBlock, VanillaBlock
from snnjax.models.layers import LIF, TDBN, ConvNorm
from snnjax.neurons import lif

spike = functools.partial(LIF, 3)


@pytest.fixture
def stream():
    return jax.random.normal(jax.random.key(0), (2, 3, 6, 6, 4))


def initialized(block, x):
    """The block's variables and a function that runs it."""
    variables = jax.jit(block.init)(jax.random.key(1), x)
    return variables, functools.partial(jax.jit(block.apply), variables)


@pytest.mark.parametrize('kind', BLOCKS)
def test_halves_the_resolution_and_changes_the_width(kind, stream):
    block = BLOCKS[kind](8, 2, ConvNorm, spike)
    shape = jax.eval_shape(block.init_with_output, jax.random.key(0), stream)[0].shape
    assert shape == (2, 3, 3, 3, 8)


def test_a_membrane_shortcut_adds_what_it_was_given(stream):
    conv_norm = functools.partial(ConvNorm, zero_init_residual=True)
    _, run = initialized(MSBlock(4, 1, conv_norm, spike), stream)
    np.testing.assert_array_equal(run(stream), stream)


def test_neurons_gate_the_vanilla_shortcut(stream):
    conv_norm = functools.partial(ConvNorm, zero_init_residual=True)
    _, run = initialized(VanillaBlock(4, 1, conv_norm, spike), stream)
    np.testing.assert_array_equal(run(stream), lif(stream))


def test_a_spiking_shortcut_convolves_the_spikes_of_the_stream(stream):
    conv_norm = functools.partial(ConvNorm, zero_init_residual=True)
    block = MSBlock(8, 2, conv_norm, spike, spiking_shortcut=True)
    variables, run = initialized(block, stream)
    shortcut = ConvNorm(8, 1, 2)
    expected = shortcut.apply(
        {key: variables[key]['shortcut'] for key in ('params', 'batch_stats')}, lif(stream)
    )
    np.testing.assert_allclose(run(stream), expected, atol=1e-6)


def test_a_shortcut_without_projection_averages_pixels(stream):
    conv_norm = functools.partial(ConvNorm, zero_init_residual=True)
    block = MSBlock(4, 2, conv_norm, spike, project_shortcut=False)
    variables, run = initialized(block, stream)
    assert 'shortcut' not in variables['params']
    means = stream.reshape(2, 3, 3, 2, 3, 2, 4).mean((3, 5))
    np.testing.assert_allclose(run(stream), means, atol=1e-6)


@pytest.mark.parametrize('stride', [1, 2])
def test_with_neurons_before_the_addition_spikes_are_counted(stride, stream):
    block = LIFBeforeAdditionBlock(4, stride, functools.partial(ConvNorm, train=True), spike)
    out, _ = jax.jit(block.init_with_output)(jax.random.key(1), lif(stream))
    assert set(np.unique(out)) == {0, 1, 2}


def test_the_runtime_scale_of_two_branches_keeps_the_variance_of_their_sum(stream):
    def deviation(branch):
        layer = ConvNorm(16, 3, branch=branch, train=True, runtime_scale=True)
        out, _ = layer.init_with_output(jax.random.key(0), stream)
        return np.std(out)

    np.testing.assert_allclose(deviation(None), 0.5, rtol=1e-3)
    np.testing.assert_allclose(deviation('residual'), 0.5 * np.sqrt(0.5), rtol=1e-3)
    np.testing.assert_allclose(deviation('shortcut'), 0.5 * np.sqrt(0.5), rtol=1e-3)


def test_the_runtime_scale_is_a_factor_of_the_learnt_one():
    layer = TDBN(train=False, initial_scale=1.0, gain=0.25)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 1, 1, 1, 2)))
    np.testing.assert_array_equal(variables['params']['scale'], [1, 1])
    np.testing.assert_allclose(
        layer.apply(variables, 2 * jnp.ones((1, 1, 1, 1, 2))).ravel(), [0.5, 0.5], rtol=1e-5
    )


def test_a_padded_shortcut_leaves_out_pixels_and_adds_channels_of_zeros(stream):
    conv_norm = functools.partial(ConvNorm, zero_init_residual=True)
    variables, run = initialized(MSBlock(6, 2, conv_norm, spike, pad_shortcut=True), stream)
    assert 'shortcut' not in variables['params']
    np.testing.assert_array_equal(run(stream)[..., :4], stream[:, :, ::2, ::2])
    assert not np.any(run(stream)[..., 4:])


def test_a_block_projects_what_has_the_shape_of_its_output_if_it_is_told_to(stream):
    block = MSBlock(4, 1, ConvNorm, spike, project_always=True)
    shapes = jax.eval_shape(block.init, jax.random.key(0), stream)['params']
    assert shapes['shortcut']['conv']['kernel'].shape == (1, 1, 4, 4)
