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


def test_a_sharded_step_reduces_over_the_devices_and_moves_nothing_else(config, batch):
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
    assert images <= {2, 4}
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
    whole = evaluate(program, state, split, batch_size=360)
    # The last batch has 360 - 3 * 104 = 48 images and 56 of padding.
    padded = evaluate(program, state, split, batch_size=104)
    assert whole.keys() == {'eval/loss', 'eval/accuracy', 'eval/firing_rate'}
    np.testing.assert_allclose(
        [padded[key] for key in whole], [whole[key] for key in whole], rtol=1e-5
    )
    assert padded['eval/accuracy'] == whole['eval/accuracy']
