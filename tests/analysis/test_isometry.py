import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.analysis.isometry import (
    draw_probes,
    gradient_norms,
    jacobian_moments,
    measure_blocks,
    measure_gates,
    scale_residuals,
)
from snnjax.analysis.trained import UnsuitableModelError
from snnjax.models.params import by_name

IMAGES = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
ONE_BLOCK = {'blocks': (1,), 'widths': (4,), 'strides': (1,)}
TWO_BLOCKS = {'blocks': (1, 1), 'widths': (8, 16), 'strides': (1, 2)}


@functools.cache
def network(name, **options):
    model = create_model(name, num_steps=2, **options)
    return model, jax.jit(model.init)(jax.random.key(1), IMAGES)


def test_moments_are_traces_of_the_jacobian(x64):
    weights = jax.random.normal(jax.random.key(1), (6, 6)) / 3

    def function(x):
        return jnp.tanh(x @ weights)

    x = jax.random.normal(jax.random.key(2), (6,))
    jacobian = np.asarray(jax.jacobian(function)(x))
    gram = jacobian @ jacobian.T
    moments = jacobian_moments(function, x, draw_probes(jax.random.key(3), 4000, x.shape))
    rest = jacobian - np.eye(6)
    for name, matrix in {
        'phi': gram,
        'phi_of_square': gram @ gram,
        'phi_of_residual': rest @ rest.T,
    }.items():
        error = 4 * float(moments[name].std()) / 4000**0.5
        assert float(moments[name].mean()) == pytest.approx(np.trace(matrix) / 6, abs=error)


def test_blocks_are_measured_at_every_number_of_time_steps():
    """A compiled function is not taken for images of another shape."""
    model, variables = network('ms_resnet14', widths=(8, 8, 16), blocks=(1, 1, 1))
    model = model.clone(num_steps=None)
    image = np.random.default_rng(0).normal(size=(2, 1, 8, 8, 3)).astype(np.float32)

    def measure(steps):
        images = np.repeat(image, steps, 1)
        return measure_blocks(model, variables, images, jax.random.key(0), 2)

    first, other, again = (measure(steps) for steps in (2, 3, 2))
    assert first == again
    assert first != other
    with pytest.raises(UnsuitableModelError, match="unknown name 'stage1/block9'"):
        measure_blocks(model, variables, image, jax.random.key(0), 2, blocks=['stage1/block9'])


def test_a_diagonal_jacobian_needs_one_probe(x64):
    scale = jnp.arange(1.0, 5.0)
    moments = jacobian_moments(lambda x: scale * x, scale, -jnp.ones((1, 4)))
    assert float(moments['phi'][0]) == pytest.approx(np.mean(scale**2))
    assert float(moments['phi_of_square'][0]) == pytest.approx(np.mean(scale**4))


def test_an_ms_block_that_adds_nothing_is_isometric():
    model, variables = network('ms_resnet14', widths=(8, 8, 16), blocks=(2, 1, 2))
    names = ['stage1/block2', 'stage2/block1', 'stage3/block2']
    blocks = measure_blocks(
        model, scale_residuals(variables, 0.0), IMAGES, jax.random.key(2), 2, blocks=names
    )
    assert [block.name for block in blocks] == names
    by_block = {block.name: block for block in blocks}
    for name in ('stage1/block2', 'stage3/block2'):
        block = by_block[name]
        assert (block.phi, block.error, block.spread, block.predicted) == (1, 0, 0, 1)
    assert by_block['stage2/block1'].predicted is None


def test_an_ms_block_departs_from_isometry_with_the_square_of_gamma():
    model, variables = network('ms_resnet8', blocks=(2,), widths=(16,), strides=(1,))

    def second(gamma):
        # The first block gets what does not change over time; the second gets the same from it.
        scaled = scale_residuals(variables, gamma)
        scaled['params']['stage1']['block1'] = variables['params']['stage1']['block1']
        key, blocks = jax.random.key(2), ['stage1/block2']
        (block,) = measure_blocks(model, scaled, IMAGES, key, 8, blocks=blocks)
        return block

    small, large = second(0.1), second(0.4)
    assert small.phi_of_residual * 16 == pytest.approx(large.phi_of_residual, rel=1e-3)
    assert large.phi > small.phi > 1
    for block in (small, large):
        # What the trace of the residual path adds is small beside it.
        assert block.predicted == pytest.approx(block.phi, abs=0.2 * (block.phi - 1))


@pytest.mark.parametrize(
    ('name', 'width'), [('ms_resnet8', 0.5), ('ms_resnet8', 2.0), ('vanilla_resnet8', 1.0)]
)
def test_the_firing_decision_passes_p_over_a_squared(name, width):
    model, variables = network(name, surrogate_width=width, **TWO_BLOCKS)
    gates = measure_gates(model, variables, IMAGES, jax.random.key(3))
    assert len(gates) == 5
    for gate in gates:
        assert 0 < gate.inside < 1
        assert gate.predicted == pytest.approx(gate.inside / width**2)
        assert gate.phi == pytest.approx(gate.predicted, rel=1e-5)


@pytest.mark.parametrize(
    'options',
    [
        {'surrogate': 'triangular'},
        {'neuron': 'adaptive_lif', 'learnable': 'adaptation'},
    ],
)
def test_other_neurons_are_measured_without_a_prediction(options):
    model, variables = network('ms_resnet8', **ONE_BLOCK, **options)
    for gate in measure_gates(model, variables, IMAGES, jax.random.key(3)):
        assert (gate.inside, gate.predicted) == (None, None)
        assert gate.phi > 0
        assert gate.over_time == ('neuron' in options)


def test_a_learned_threshold_moves_the_window():
    model, variables = network('ms_resnet8', **ONE_BLOCK, learnable_threshold=True)
    variables['params']['spike']['threshold'] = jnp.float32(100)
    gates = measure_gates(model, variables, IMAGES, jax.random.key(3))
    assert [gate.inside > 0 for gate in gates] == [True] * 2 + [False]


def test_an_ann_has_no_gates():
    model, variables = network('ann_resnet8', **ONE_BLOCK)
    with pytest.raises(UnsuitableModelError, match='no spiking neurons'):
        measure_gates(model, variables, IMAGES, jax.random.key(3))


def test_gradient_norms_are_those_of_the_parameters_of_each_block():
    model, variables = network('ms_resnet8', **TWO_BLOCKS)
    labels = jnp.arange(4)

    def loss(params):
        logits, _ = model.apply(
            {**variables, 'params': params}, IMAGES, train=True, mutable=['batch_stats']
        )
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels])

    gradient = by_name(jax.jit(jax.grad(loss))(variables['params']))
    norms = gradient_norms(model, variables, IMAGES, labels)
    assert list(norms) == ['stage1/block1', 'stage2/block1']
    for block, norm in norms.items():
        leaves = [leaf.ravel() for name, leaf in gradient.items() if name.startswith(block)]
        assert norm == pytest.approx(float(jnp.linalg.norm(jnp.concatenate(leaves))), rel=1e-4)


def test_a_bfloat16_network_is_measured_in_float32():
    model, variables = network('ms_resnet8', blocks=(2,), widths=(8,), strides=(1,))
    rounded = model.clone(dtype='bfloat16')
    key, labels = jax.random.key(4), jnp.arange(4)
    images = IMAGES.astype(jnp.float32)
    assert measure_blocks(rounded, variables, images, key) == measure_blocks(
        model, variables, images, key
    )
    assert measure_gates(rounded, variables, images, key) == measure_gates(
        model, variables, images, key
    )
    assert gradient_norms(rounded, variables, images, labels) == gradient_norms(
        model, variables, images, labels
    )
