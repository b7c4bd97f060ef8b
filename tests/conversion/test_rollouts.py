"""Rollouts with spiking neurons: the same delays, the same cone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.conversion import Ann, Batch, Calibration, ConversionError, convert
from snnjax.conversion.simulation import running_means, simulate
from snnjax.models.streaming import stream

STEPS = 12
SHAPE = (STEPS, 8, 8, 2)
SMALL = {'blocks': (1, 2), 'widths': (3, 4), 'pools': (1, 2), 'stem_width': 3, 'num_classes': 3}


@functools.cache
def rollout():
    """A rollout whose classifier sees every layer, and whose neurons have biases."""
    # Means of spikes are means of rates, which the largest are not.
    model = create_model('rollout_densenet', pooling='average', **SMALL)
    frames = jnp.zeros((1, *SHAPE))
    shapes = jax.eval_shape(model.init, jax.random.key(0), frames)
    rng = np.random.default_rng(3)

    def draw(path, leaf):
        low = 0.5 if path[-1].key in ('scale', 'var') else -0.5
        return rng.uniform(low, low + 1, leaf.shape).astype(np.float32)

    drawn = {key: shapes[key] for key in ('params', 'batch_stats')}
    return Ann(model, jax.tree.map_with_path(draw, drawn), SHAPE)


def frames(count=4):
    return np.random.default_rng(4).uniform(0, 2, (count, *SHAPE)).astype(np.float32)


@functools.cache
def converted(method='rueckauer', **options):
    x = frames()
    batch = Batch(jnp.asarray(x), np.arange(len(x)) % 3, np.ones(len(x), bool))
    calibration = Calibration(lambda: iter([batch]), len(x))
    return convert(rollout(), method, calibration, num_steps=STEPS, **options)


def test_thresholds_are_percentiles_over_all_time_steps():
    _, activations = rollout().activations(jnp.asarray(frames()))
    for name, threshold in converted(percentile=90.0).thresholds.items():
        expected = np.percentile(np.asarray(activations[name], np.float64), 90)
        np.testing.assert_allclose(threshold, expected, rtol=1e-6)


def test_the_spiking_rollout_has_the_cone_of_the_analog_one():
    ann, snn = rollout(), converted()
    assert snn.model.rollout
    assert snn.model.path_lengths == ann.model.path_lengths == (2, 5)
    at = 3
    x = frames()
    other = np.array(x)
    other[:, at:] += 1.0
    reached = {}
    for kind, model, variables in (
        ('analog', ann.model, ann.variables),
        ('spiking', snn.model, snn.variables),
    ):
        run = jax.jit(model.clone(step_logits=True).apply)
        changed = np.asarray(run(variables, other)) != np.asarray(run(variables, x))
        reached[kind] = set(np.flatnonzero(changed.any(axis=(0, 2))).tolist())
    assert reached['analog'] == set(range(at + 2, STEPS))
    assert reached['spiking'] <= reached['analog']
    assert min(reached['spiking']) == at + 2


def test_a_static_input_gets_the_answer_of_the_sequential_network_in_the_long_run():
    ann, snn = rollout(), converted(percentile=100.0)
    image = jnp.asarray(frames(2)[:, :1])
    long = jnp.broadcast_to(image, (2, 400, *SHAPE[1:]))
    outcome = simulate(snn.model, snn.variables, long, 400)
    sequential = ann.model.clone(rollout=False)
    expected = jax.jit(sequential.apply)(ann.variables, image[:, 0])
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(outcome.logits[-1], expected, atol=0.01)


def test_a_simulation_in_parts_and_frame_by_frame_is_the_whole():
    snn, x = converted(), jnp.asarray(frames())
    parts = simulate(snn.model, snn.variables, x, STEPS, steps_per_part=5)
    whole = jax.jit(snn.model.clone(step_logits=True).apply)(snn.variables, x)
    expected = np.moveaxis(running_means(np.asarray(whole), 2), 1, 0)
    np.testing.assert_allclose(parts.logits, expected, rtol=1e-5, atol=1e-6)
    streamed = jax.jit(functools.partial(stream, snn.model))(snn.variables, x)
    np.testing.assert_allclose(streamed, whole, rtol=1e-5, atol=1e-6)
    final = jax.jit(snn.model.apply)(snn.variables, x)
    np.testing.assert_allclose(parts.logits[-1], final, rtol=1e-5, atol=1e-6)


def test_means_begin_at_the_first_response():
    logits = np.arange(5.0).reshape(1, 5, 1)
    assert running_means(logits, 2).ravel().tolist() == [0, 1, 2, 2.5, 3]
    assert running_means(logits).ravel().tolist() == [0, 0.5, 1, 1.5, 2]


@pytest.mark.parametrize(
    ('method', 'num_steps', 'message'),
    [
        ('spike_norm', STEPS, 'does not support rollouts; use one of rueckauer'),
        ('rueckauer', 7, 'num_steps=7 must be 12, the number of frames'),
    ],
)
def test_what_has_no_rollout_is_refused(method, num_steps, message):
    calibration = Calibration(lambda: iter([]), 1)
    with pytest.raises(ConversionError, match=message):
        convert(rollout(), method, calibration, num_steps=num_steps)


def test_frames_of_a_sequential_network_are_refused():
    ann = rollout()
    with pytest.raises(ConversionError, match='if they are rollouts, such as rollout_densenet'):
        dataclasses.replace(ann, model=ann.model.clone(rollout=False))
