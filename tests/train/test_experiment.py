"""Runs of several phases."""

import json
import re

import chex
import jax
import numpy as np
import pytest

from snnjax.analysis.trained import open_trained
from snnjax.errors import ConfigError
from snnjax.train import loop
from snnjax.train.config import differences, phase_configs
from snnjax.train.experiment import check, open_experiment
from snnjax.train.loop import train
from tests.runs import metrics_without_times, outcome

STEPS_PER_EPOCH = 7
METRICS = ['loss', 'accuracy', 'firing_rate']


@pytest.fixture
def two_phases(config):
    """One epoch at one time step, another one at two."""
    config.batch_size = 200
    config.epochs = 1
    config.log_every = 1
    config.optimizer.learning_rate = 0.05
    config.earlier_phases.first = {
        'model': {'num_steps': 1},
        'optimizer': {'learning_rate': 0.1},
    }
    return config


def test_a_phase_is_the_run_but_for_its_own_keys(two_phases):
    two_phases.epochs = 7
    first, last = phase_configs(two_phases).values()
    assert (first.model.num_steps, first.optimizer.learning_rate, first.epochs) == (1, 0.1, 7)
    assert (last.model.num_steps, last.optimizer.learning_rate, last.epochs) == (2, 0.05, 7)
    assert not first.earlier_phases
    assert two_phases.earlier_phases


def test_phases_come_in_the_order_in_which_they_are_written(config):
    config.earlier_phases = {'b': {'epochs': 2}, 'c': {'epochs': 3}, 'a': {'epochs': 1}}
    phases = phase_configs(config)
    assert list(phases) == ['b', 'c', 'a', '']
    assert [phase.epochs for phase in phases.values()] == [2, 3, 1, 2]


def test_another_order_of_the_phases_is_another_run(config):
    config.earlier_phases = {'b': {'epochs': 2}, 'a': {'epochs': 1}}
    kept = json.loads(config.to_json())
    assert differences(kept, json.loads(config.to_json())) == []
    config.earlier_phases = {'a': {'epochs': 1}, 'b': {'epochs': 2}}
    changes = differences(kept, json.loads(config.to_json()))
    assert changes == ['earlier_phases: the order b, a -> a, b']


@pytest.mark.parametrize('phases', [{'t1': 3}, {'t1': None}, {'': {'epochs': 3}}])
def test_a_phase_is_a_name_and_keys(config, phases):
    config.earlier_phases = phases
    with pytest.raises(ConfigError, match='must be a name and keys of its own'):
        check(config, num_devices=8)


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        ('epochs', 10**8, 'epochs=100000000 are 8,900,000,000 steps, more than 2,147,483,647'),
        ('optimizer.warmup_epochs', 1.999, 'warmup_epochs=1.999 is all of the 178 steps'),
        ('eval_batch_size', 80000, 'eval_batch_size=80000 must be at most 8,000 for 360 test'),
        ('model.widths', (16384,), 'parameters with these options, more than 2,147,483,647'),
    ],
)
def test_numbers_that_are_too_large_are_found_before_anything_is_compiled(
    config, keys, value, message
):
    config.update_from_flattened_dict({keys: value})
    check(config, num_devices=8)
    with pytest.raises(ConfigError, match=message):
        open_experiment(config)


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ({}, 'earlier_phases.x: has no key of its own'),
        ({'epoch': 3}, 'earlier_phases.x.epoch: no key of a phase; did you mean epochs'),
        ({'model': {'T': 1}}, 'earlier_phases.x.model.T: no key of a phase'),
        ({'init_from': 'runs/a'}, 'earlier_phases.x.init_from: no key of a phase'),
        ({'epochs': 'two'}, "earlier_phases.x.epochs='two': "),
        ({'epochs': 0}, 'earlier_phases.x: epochs=0 must be at least 1'),
        ({'model': {'name': 'ms_resnet9'}}, "earlier_phases.x: unknown model 'ms_resnet9'"),
    ],
)
def test_a_phase_that_cannot_run_is_named_before_anything_is_loaded(config, keys, message):
    config.earlier_phases = {'x': keys}
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(config, num_devices=8)


def test_phases_of_different_networks_are_refused(two_phases):
    two_phases.earlier_phases.first.model = {'blocks': (2,)}
    with pytest.raises(ConfigError, match=r'phases\.first: has another network than the run'):
        open_experiment(two_phases)


@pytest.fixture(scope='module')
def finished():
    """Filled by the first test that needs it: the outcome of an undisturbed run."""
    return {}


def undisturbed(two_phases, finished, tmp_path):
    if not finished:
        assert train(two_phases, tmp_path / 'undisturbed').finished
        finished['outcome'] = outcome(tmp_path / 'undisturbed')
    return finished['outcome']


def test_phases_are_what_commands_one_after_the_other_are(two_phases, finished, tmp_path):
    step, state, _, _, metrics = undisturbed(two_phases, finished, tmp_path)
    first, last = phase_configs(two_phases).values()
    assert train(first, tmp_path / 'first').finished
    last.init_from = str(tmp_path / 'first')
    assert train(last, tmp_path / 'last').finished
    last_step, last_state, _, _, last_metrics = outcome(tmp_path / 'last')
    assert step == 2 * STEPS_PER_EPOCH
    assert last_step == STEPS_PER_EPOCH
    chex.assert_trees_all_equal(state, last_state)
    expected = metrics_without_times(tmp_path / 'first') + [
        record | {'step': record['step'] + STEPS_PER_EPOCH, 'epoch': record['epoch'] + 1}
        for record in last_metrics
    ]
    extended = []
    for record, other in zip(map(dict, metrics), expected, strict=True):
        extended += [record.pop(key) for key in list(record) if key.startswith('extended/')]
        assert record == other
    # What the weights of the first do at two time steps, before they are trained at them.
    trained = open_trained(str(tmp_path / 'first'), num_steps=2, batch_size=360)
    measured = trained.evaluate()
    np.testing.assert_allclose(extended, [measured[f'eval/{name}'] for name in METRICS], rtol=1e-6)
    at_one_step = next(
        record for record in metrics if record['step'] == STEPS_PER_EPOCH and 'eval/loss' in record
    )
    assert abs(at_one_step['eval/loss'] - extended[0]) > 1e-4


@pytest.mark.parametrize('looks', [2, 7, 8, 10])
def test_a_run_that_was_stopped_in_any_phase_ends_as_one_that_was_not(
    two_phases, finished, tmp_path, monkeypatch, looks
):
    """The loop looks before each step, and at the end of a phase, which is the 8th time."""
    expected = undisturbed(two_phases, finished, tmp_path)

    class StopAfter:
        def __init__(self):
            self.left = looks

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        @property
        def requested(self):
            self.left -= 1
            return self.left < 0

    with monkeypatch.context() as patch:
        patch.setattr(loop, 'StopRequest', StopAfter)
        assert not train(two_phases, tmp_path / 'run').finished
    assert outcome(tmp_path / 'run')[0] == {2: 2, 7: 7, 8: 7, 10: 9}[looks]
    assert train(two_phases, tmp_path / 'run').finished
    step, state, position, _, metrics = outcome(tmp_path / 'run')
    chex.assert_trees_all_equal(state, expected[1])
    # The stop has left a checkpoint of its own.
    assert (step, position, metrics) == (expected[0], expected[2], expected[4])


def test_another_phase_makes_another_run(two_phases, tmp_path):
    (tmp_path / 'config.json').write_text(two_phases.to_json())
    two_phases.earlier_phases.first.optimizer.learning_rate = 0.2
    with pytest.raises(ConfigError, match=r'earlier_phases.first.optimizer.learning_rate: 0.1 -> '):
        train(two_phases, tmp_path)


def test_the_first_phase_begins_with_the_seed(two_phases):
    first, last = open_experiment(two_phases).phases
    chex.assert_trees_all_equal(
        jax.device_get(first.program.init().params), jax.device_get(last.program.init().params)
    )
    np.testing.assert_array_equal(first.batches[0]['image'], last.batches[0]['image'])
    assert (first.first_step, first.last_step, last.last_step) == (0, 7, 14)
    assert (first.epoch(7), last.epoch(7)) == (1, 2)
