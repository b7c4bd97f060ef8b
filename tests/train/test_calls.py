"""Steps in one call, and batches made on the devices: all that is written stays the same."""

import contextlib
import signal

import numpy as np
import pytest

from snnjax.data.pipeline import TrainingBatches
from snnjax.errors import ConfigError
from snnjax.train.checkpoints import Checkpoints
from snnjax.train.config import default_config
from snnjax.train.experiment import check
from snnjax.train.finite import NonFiniteError
from snnjax.train.loop import train
from tests.runs import assert_same_outcome, outcome


def configured():
    """Two phases of 11 steps, with as much as can be of what acts on a step."""
    config = default_config()
    config.model.name = 'ms_resnet8'
    config.model.num_steps = 2
    config.model.blocks, config.model.widths, config.model.strides = (1,), (4,), (2,)
    config.data.name = 'digits'
    config.data.crop_padding = 1
    config.data.flip = True
    config.data.random_erasing = 0.5
    config.data.mixup = 0.4
    config.data.cutmix = 1.0
    config.batch_size = 128
    config.eval_batch_size = 360
    config.epochs = 1
    config.earlier_phases = {'t1': {'model': {'num_steps': 1}}}
    config.microbatches = 2
    config.ema_decay = 0.9
    config.gradient_norms = True
    config.log_every = 4
    config.checkpoint.every_steps = 5
    config.checkpoint.keep = 8
    config.steps_per_call = 1
    return config


@pytest.fixture
def config():
    return configured()


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """The outcome of a run of one step a call, on batches from the host."""
    workdir = tmp_path_factory.mktemp('run')
    assert train(configured(), workdir, verbose=False).finished
    return outcome(workdir)


@pytest.mark.parametrize(('steps', 'on_device'), [(1, 'true'), (3, 'false'), (7, 'true')])
def test_a_run_is_the_same_bit_for_bit(config, expected, tmp_path, steps, on_device):
    config.steps_per_call = steps
    config.data.on_device = on_device
    assert train(config, tmp_path / 'run', verbose=False).finished
    assert_same_outcome(outcome(tmp_path / 'run'), expected)


def test_a_run_that_is_stopped_and_killed_between_calls_is_the_same(
    config, expected, tmp_path, monkeypatch
):
    config.data.on_device = 'true'
    config.steps_per_call = 3
    make, events = TrainingBatches.recipe, {1: 'stop', 5: 'kill', 6: 'kill', 10: 'stop'}

    def with_events(self, number):
        event = events.pop(number, None)
        if event == 'stop':
            signal.raise_signal(signal.SIGTERM)
        if event == 'kill':
            raise RuntimeError
        return make(self, number)

    monkeypatch.setattr(TrainingBatches, 'recipe', with_events)
    finished = []
    for _ in range(5):
        with contextlib.suppress(RuntimeError):
            finished.append(train(config, tmp_path / 'run', verbose=False).finished)
    assert finished == [False, False, True]
    assert not events
    assert_same_outcome(outcome(tmp_path / 'run'), expected)


@pytest.mark.parametrize('policy', ['stop', 'skip', 'rollback'])
def test_a_fault_within_a_call_has_its_step(config, tmp_path, monkeypatch, policy):
    config.earlier_phases = {}
    config.on_non_finite = policy
    iterate = TrainingBatches.iterate

    def with_fault(self, start, workers=0):
        for step, batch in enumerate(iterate(self, start, workers), start=start + 1):
            images = batch['image'].astype(np.float32)
            images[3, 0, 0] = np.nan if step == 7 else images[3, 0, 0]
            yield batch | {'image': images}

    monkeypatch.setattr(TrainingBatches, 'iterate', with_fault)
    outcomes = []
    for steps in (1, 3):
        config.steps_per_call = steps
        workdir = tmp_path / str(steps)
        if policy == 'stop':
            with pytest.raises(NonFiniteError, match='step 7: the statistics of stem'):
                train(config, workdir, verbose=False)
        else:
            assert train(config, workdir, verbose=False).finished
            outcomes.append(outcome(workdir))
    if outcomes:
        assert_same_outcome(*outcomes)
        assert outcomes[0][2]['non_finite'] == 1


def test_checkpoints_by_the_clock_change_nothing_but_where_a_run_goes_on(
    config, expected, tmp_path, monkeypatch
):
    config.checkpoint.every_minutes = 5.0
    due, make = iter([False, False, True]), TrainingBatches.iterate
    monkeypatch.setattr(Checkpoints, 'are_due', lambda self, minutes: minutes == 5 and next(due, 0))

    def killed(self, start, workers=0):
        for number, batch in enumerate(make(self, start, workers), start):
            if number == 4:
                raise RuntimeError
            yield batch

    monkeypatch.setattr(TrainingBatches, 'iterate', killed)
    with pytest.raises(RuntimeError):
        train(config, tmp_path / 'run', verbose=False)
    monkeypatch.undo()
    assert outcome(tmp_path / 'run')[0] == 2
    assert train(config, tmp_path / 'run', verbose=False).finished
    assert_same_outcome(outcome(tmp_path / 'run'), expected)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'steps_per_call': -1}, 'steps_per_call=-1 must be at least 0'),
        ({'data.on_device': 'yes'}, "unknown data.on_device='yes'"),
        ({'data.on_device': 'true', 'data.name': 'fake_imagenet'}, 'on_device=true is for small'),
        (
            {'data.on_device': 'true', 'data.rand_augment': 2},
            'rand_augment=2 must be left out if data.on_device=true: Pillow',
        ),
        ({'checkpoint.every_minutes': -1.0}, 'checkpoint.every_minutes=-1.0 must be at least 0'),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_compiled(config, changes, message):
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=message):
        check(config, 8)


def test_a_checkpoint_is_due_so_many_minutes_after_the_last_one(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr('snnjax.train.checkpoints.time.monotonic', lambda: now)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        now += 119
        assert not checkpoints.are_due(2.0)
        now += 1
        assert checkpoints.are_due(2.0)
        assert not checkpoints.are_due(0.0)
