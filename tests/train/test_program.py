"""The compiled step on one device and on eight."""

import re

import chex
import jax
import numpy as np
import pytest

from snnjax.data import DataOptions, open_dataset
from snnjax.data.pipeline import TrainingBatches
from snnjax.train.loop import evaluate
from snnjax.train.program import build_program
from snnjax.train.sharding import make_mesh, put_batch


@pytest.fixture
def batch():
    split = open_dataset(DataOptions(name='digits')).load('train')
    return TrainingBatches(split, batch_size=16, seed=0, num_batches=1)[0]


def abstract_batch(program, batch):
    return {
        key: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=program.batch_sharding)
        for key, value in batch.items()
    }


@pytest.mark.parametrize('microbatches', [1, 2])
def test_a_sharded_step_reduces_over_the_devices_and_moves_nothing_else(
    config, batch, microbatches
):
    config.microbatches = microbatches
    program = build_program(config, make_mesh(), steps_per_epoch=10)
    lowered = program.train_step.lower(program.abstract_state(), abstract_batch(program, batch))
    compiled = lowered.compile().as_text()
    collectives = set(
        re.findall(
            r' (all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|'
            r'reduce-scatter|ragged-all-to-all)(?:-start)?\(',
            compiled,
        )
    )
    assert collectives == {'all-reduce'}
    # Each device has two of the sixteen images: two time steps of them are folded into four.
    images = {int(n) for n in re.findall(r'= f32\[(\d+),8,8,16\]\S* convolution\(', compiled)}
    assert images <= {2 // microbatches, 4 // microbatches}
    assert images


def test_eight_devices_train_as_one_does(config, batch):
    states, sums = [], []
    for devices in (jax.devices()[:1], jax.devices()):
        program = build_program(config, make_mesh(devices), steps_per_epoch=10)
        state, step_sums = program.train_step(
            program.init(), put_batch(batch, program.batch_sharding)
        )
        states.append(jax.device_get(state))
        sums.append(jax.device_get(step_sums))
    chex.assert_trees_all_close(*states, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(*sums, rtol=1e-4)
    assert states[0].step == 1


def test_evaluation_counts_every_image_once(config):
    program = build_program(config, make_mesh(), steps_per_epoch=10)
    state = program.init()
    split = open_dataset(DataOptions(name='digits')).load('test')
    whole = evaluate(program, state, split, 360, config.data)
    # The last batch has 360 - 3 * 104 = 48 images and 56 of padding.
    padded = evaluate(program, state, split, 104, config.data)
    assert whole.keys() == {'eval/loss', 'eval/accuracy', 'eval/firing_rate'}
    np.testing.assert_allclose(
        [padded[key] for key in whole], [whole[key] for key in whole], rtol=1e-5
    )
    assert padded['eval/accuracy'] == whole['eval/accuracy']


def test_missing_images_do_not_count(config, batch):
    """Neither in the gradient nor in the metrics, whatever is in their places."""
    program = build_program(config, make_mesh(), steps_per_epoch=10)
    mask = np.arange(16) % 4 != 1
    results = []
    for filling in (0, 255):
        images = np.where(mask[:, None, None, None], batch['image'], np.uint8(filling))
        masked = batch | {'image': images, 'mask': mask}
        state, sums = program.train_step(program.init(), put_batch(masked, program.batch_sharding))
        results.append(jax.device_get((state, sums)))
    chex.assert_trees_all_equal(*results)
    assert results[0][1]['images'] == 12


def test_a_batch_of_nothing_but_missing_images_leaves_numbers(config, batch):
    program = build_program(config, make_mesh(), steps_per_epoch=10)
    masked = batch | {'mask': np.zeros(16, bool)}
    state, sums = program.train_step(program.init(), put_batch(masked, program.batch_sharding))
    chex.assert_tree_all_finite(jax.device_get((state.params, state.batch_stats)))
    assert sums['images'] == 0


def test_mixed_images_have_both_labels(config, batch):
    """The loss is linear in the targets: that of two labels lies between theirs."""
    program = build_program(config, make_mesh(), steps_per_epoch=10)
    other = (batch['label'] + 1) % 10
    losses = {}
    for weight in (1.0, 0.25, 0.0):
        weights = np.full(16, weight, np.float32)
        mixed = batch | {'mixed_label': other, 'label_weight': weights}
        _, sums = program.train_step(program.init(), put_batch(mixed, program.batch_sharding))
        losses[weight] = float(sums['loss'])
    np.testing.assert_allclose(losses[0.25], 0.25 * losses[1.0] + 0.75 * losses[0.0], rtol=1e-5)
    assert losses[0.0] != losses[1.0]


@pytest.mark.parametrize('num_devices', [1, 4])
def test_microbatches_add_up(config, batch, num_devices):
    """To the mean of the gradients of each, with the statistics of each."""
    config.optimizer.momentum = 0.0
    config.optimizer.weight_decay = 0.0
    mesh = make_mesh(jax.devices()[:num_devices])
    whole = build_program(config, mesh, steps_per_epoch=10)
    config.microbatches = 2
    program = build_program(config, mesh, steps_per_epoch=10)
    before = jax.device_get(program.init())
    state, sums = program.train_step(program.init(), put_batch(batch, program.batch_sharding))

    # Each device computes the first half of its images first.
    first = (np.arange(16) // (8 // num_devices)) % 2 == 0
    deltas, stats, expected_sums = [], before.batch_stats, []
    for part in (first, ~first):
        half = {key: value[part] for key, value in batch.items()}
        start = jax.device_put(before._replace(batch_stats=stats), whole.state_sharding)
        after, part_sums = whole.train_step(start, put_batch(half, whole.batch_sharding))
        stats = jax.device_get(after.batch_stats)
        deltas.append(jax.tree.map(np.subtract, jax.device_get(after.params), before.params))
        expected_sums.append(jax.device_get(part_sums))
    expected = jax.tree.map(lambda p, a, b: p + (a + b) / 2, before.params, *deltas)
    chex.assert_trees_all_close(jax.device_get(state.params), expected, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(jax.device_get(state.batch_stats), stats, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(
        jax.device_get(sums), jax.tree.map(np.add, *expected_sums), rtol=1e-5
    )


def test_the_average_of_the_weights_is_what_is_evaluated(config, batch):
    config.average_decay = 0.75
    program = build_program(config, make_mesh(), steps_per_epoch=10)
    placed = put_batch(batch, program.batch_sharding)
    state = program.init()
    average = jax.device_get(state.average)
    for _ in range(2):
        state, _ = program.train_step(state, placed)
        new = jax.device_get({'params': state.params, 'batch_stats': state.batch_stats})
        average = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, average, new)
    chex.assert_trees_all_close(jax.device_get(state.average), average, rtol=1e-5, atol=1e-7)
    masked = placed | put_batch({'mask': np.ones(16, bool)}, program.batch_sharding)
    ours = program.eval_step(state, masked)
    plain = state._replace(**state.average)
    chex.assert_trees_all_close(
        jax.device_get(ours), jax.device_get(program.eval_step(plain, masked))
    )
    assert ours['loss'] != program.eval_step(state._replace(average=new), masked)['loss']
