"""Rollouts: every edge takes one time step."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.models import create_model
from snnjax.models.activations import Activation
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, SpikingNeurons
from snnjax.models.observation import capture_layers
from snnjax.models.pooling import MaxPool
from snnjax.models.streaming import advance, start, stream

SMALL = {
    'densenet': {'blocks': (1, 2), 'widths': (3, 4), 'pools': (1, 2), 'stem_width': 3},
    'vgg16_cifar': {'blocks': (1, 2), 'widths': (3, 4), 'in_channels': 2},
    'relu_resnet8': {'widths': (2, 2, 3), 'in_channels': 2},
    'ann_resnet8': {'widths': (2, 2, 3), 'in_channels': 2},
}
STEPS = 14


@functools.cache
def made(name):
    """A rollout in float64, with statistics and biases that are not where they begin."""
    model = create_model(f'rollout_{name}', num_classes=3, **SMALL[name])
    with jax.enable_x64(True):
        frames = jax.random.normal(jax.random.key(0), (2, STEPS, 8, 8, 2), jnp.float64)
        variables = jax.jit(model.init)(jax.random.key(1), frames)
        leaves, tree = jax.tree.flatten(variables)
        keys = jax.random.split(jax.random.key(2), len(leaves))
        leaves = [
            leaf.astype(jnp.float64) + 0.3 * jax.random.uniform(key, leaf.shape, jnp.float64)
            for leaf, key in zip(leaves, keys, strict=True)
        ]
        steps = model.clone(step_logits=True)
        return model, jax.tree.unflatten(tree, leaves), frames, jax.jit(steps.apply)


@pytest.mark.parametrize('name', SMALL)
def test_a_static_image_gets_the_sequential_answer_from_the_longest_path_on(name, x64):
    model, variables, frames, run = made(name)
    shortest, longest = model.path_lengths
    image = frames[:, :1]
    logits = run(variables, jnp.broadcast_to(image, frames.shape))
    without = run(variables, jnp.zeros_like(frames))
    sequential = jax.jit(model.clone(rollout=False).apply)(variables, image[:, 0])
    np.testing.assert_array_equal(logits[:, :shortest], without[:, :shortest])
    assert np.abs(logits - without)[:, shortest].max() > 1e-6
    np.testing.assert_allclose(
        logits[:, longest:],
        np.broadcast_to(sequential[:, None], logits[:, longest:].shape),
        atol=1e-12,
    )
    assert np.abs(logits[:, longest - 1] - sequential).max() > 1e-6


@pytest.mark.parametrize('name', SMALL)
def test_an_impulse_answers_after_the_lengths_of_paths_and_at_no_other_time(name, x64):
    model, variables, frames, run = made(name)
    shortest, longest = model.path_lengths
    at = 1
    changed = run(variables, frames.at[:, at].add(1.0)) - run(variables, frames)
    answers = np.flatnonzero(np.abs(changed).max(axis=(0, 2)) > 0)
    # Blocks that add currents have no path of an odd length: a residual path has two edges.
    lengths = range(shortest, longest + 1, 2 if name == 'ann_resnet8' else 1)
    assert [int(t) - at for t in answers] == list(lengths)
    assert at + longest < STEPS - 1


@pytest.mark.parametrize('name', SMALL)
def test_frame_by_frame_is_the_whole_sequence(name, x64):
    model, variables, frames, run = made(name)
    streamed = jax.jit(functools.partial(stream, model))(variables, frames)
    np.testing.assert_allclose(streamed, run(variables, frames), atol=1e-12)


def test_layers_of_a_step_do_not_wait_for_one_another(x64):
    model, variables, frames, _ = made('densenet')
    step = jax.jit(functools.partial(advance, model))
    state = start(model, variables, frames[:, 0])
    state, _ = step(variables, state, frames[:, 0])
    before, _ = step(variables, state, frames[:, 1])
    state['images'] = {'output': state['images']['output'] + 1}
    after, _ = step(variables, state, frames[:, 1])
    changed = {
        name for name, leaf in after.items() if np.any(leaf['output'] != before[name]['output'])
    }
    # Only the stem reads the images; a state of the layers behind it has seen nothing of them yet.
    assert changed == {'spike'}


def test_a_loop_over_frames_is_one_scan():
    model = create_model('rollout_densenet', num_classes=3, **SMALL['densenet'])
    frames = jax.ShapeDtypeStruct((1, 9, 8, 8, 2), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), frames)
    program = jax.make_jaxpr(functools.partial(stream, model))(variables, frames)
    names = [equation.primitive.name for equation in program.jaxpr.eqns]
    assert names.count('scan') == 1
    assert not any('conv_general' in name for name in names)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('ms_resnet8', {}),
        ('ms_resnet8', {'spiking_shortcut': True}),
        ('ann_resnet8', {'project_shortcut': False, 'widths': (2, 2, 2)}),
        ('wo_lif_resnet8', {}),
        ('vanilla_resnet8', {'hidden': (5,)}),
        ('relu_resnet8', {'bottleneck': True}),
        ('lif_before_add_resnet8', {'project_first': True}),
        ('sew_resnet8', {}),
        ('plain_net8', {'stem': 'conv3x3x3'}),
        ('sengupta_resnet20', {'blocks': (1, 1), 'strides': (1, 2), 'widths': (2, 3)}),
        ('vgg16', {'blocks': (1, 1), 'widths': (2, 3), 'grid': 1, 'hidden': (4, 4)}),
        ('plif_nmnist', {'channels': (2, 2), 'hidden': (3,), 'voters': 1}),
        ('densenet', {'blocks': (2, 1), 'widths': (2, 2), 'pools': (1, 2)}),
    ],
)
def test_path_lengths_are_those_that_signals_take(name, options):
    small = {} if 'widths' in options or name.startswith('plif') else {'widths': (2, 3, 4)}
    model = create_model(f'rollout_{name}', in_channels=2, num_classes=2, **small, **options)
    assert model.path_lengths == _travelled(model)


def _travelled(model):
    """The first and the last time step at which a signal arrives that is in the first frame.

    Layers hand on whether there is a signal anywhere in what they see, so that nothing cancels.
    """
    steps = model.path_lengths[1] + 3
    model = model.clone(num_steps=steps, step_logits=True)

    def pass_on(call, args, kwargs, context):
        module, x = context.module, args[0] if args else None
        if context.method_name != '__call__':
            return call(*args, **kwargs)
        if isinstance(module, TDBN):
            return x
        if isinstance(module, Conv):
            size = (-(-length // module.stride) for length in x.shape[2:4])
            return _anywhere(x, (*size, module.features))
        if isinstance(module, nn.Dense):
            return _anywhere(x, (*x.shape[2:-1], module.features))
        if isinstance(module, SpikingNeurons | Activation):
            there = (x > 0).astype(x.dtype)
            return jnp.pad(there, [(0, 0), (1, 0)] + [(0, 0)] * (x.ndim - 2))[:, :-1]
        return call(*args, **kwargs)

    frames = jnp.zeros((1, steps, 8, 8, 2)).at[:, 0].set(1.0)

    def run(frames):
        with nn.intercept_methods(pass_on):
            return model.apply({}, frames)

    logits = jax.jit(run)(frames)
    times = np.flatnonzero(np.asarray(logits).max(axis=(0, 2)) > 0)
    return int(times[0]), int(times[-1])


def _anywhere(x, shape):
    there = (x > 0).any(axis=tuple(range(2, x.ndim)))
    return jnp.broadcast_to(
        there.reshape(*x.shape[:2], *[1] * len(shape)), (*x.shape[:2], *shape)
    ).astype(x.dtype)


def test_the_mean_over_time_begins_at_the_first_response(x64):
    model, variables, frames, run = made('vgg16_cifar')
    expected = run(variables, frames)[:, model.first_response :].mean(axis=1)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, frames), expected, atol=1e-12)
    with pytest.raises(ValueError, match='first responds after 4 time steps'):
        jax.eval_shape(model.apply, variables, frames[:, :4])


@pytest.mark.parametrize('name', ['densenet', 'densenet_dvs'])
def test_the_networks_for_events_have_half_a_million_parameters(name):
    model = create_model(f'rollout_{name}')
    size = 34 if name == 'densenet' else 128
    frames = jax.ShapeDtypeStruct((1, 3, size, size, 2), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), frames)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))
    assert parameters == 482_122


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('rollout_efficientnet_b0', 'EfficientNet has no rollout'),
        ('rollout_ta_snn', 'ConvNet has no rollout'),
        ('rollout_ms_resnet9', 'unknown model'),
    ],
)
def test_a_network_without_a_rollout_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        create_model(name)


def test_neurons_that_cannot_continue_are_refused():
    model = create_model('rollout_ms_resnet8', in_channels=2)
    frames = jnp.zeros((1, 4, 8, 8, 2))
    variables = jax.eval_shape(model.init, jax.random.key(0), frames)
    with pytest.raises(ValueError, match='defines no initial membrane potential'):
        jax.eval_shape(functools.partial(stream, model), variables, frames)


@pytest.mark.parametrize(
    ('name', 'options'),
    [('vgg16_cifar', {'pooling': 'max'}), ('densenet', {'pooling': 'max'}), ('relu_resnet18', {})],
)
def test_max_pooling_of_a_rollout_passes_any_spike(name, options):
    """Counts of spikes decide only where the input is constant."""
    rate_coded = {'activation': '', 'neuron': 'integrate_and_fire', 'soft_reset': True}
    sequential = create_model(name, **options, **rate_coded)
    images = jax.ShapeDtypeStruct((1, 32, 32, sequential.in_channels), jnp.float32)
    for model, gate in (
        (sequential, 'winner'),
        (sequential.clone(pool_gate='count'), 'count'),
        (sequential.clone(rollout=True), ''),
    ):
        with capture_layers(MaxPool) as calls:
            jax.eval_shape(model.unrolled().init, jax.random.key(0), images)
        assert {call.module.gate for call in calls} == {gate}
    with pytest.raises(ValueError, match='pool_gate=count: the spikes of this network do not'):
        create_model('ms_resnet8', pool_gate='count')
