import functools
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from snnjax import create_model
from snnjax.errors import WeightsError
from snnjax.train import checkpoints as module
from snnjax.train import processes
from snnjax.train.checkpoints import Checkpoints, CheckpointWriteError
from snnjax.train.state import TrainState
from snnjax.weights.folder import load_weights, write_description
from snnjax.weights.steps import best_step, find_checkpoint


@pytest.fixture
def state():
    kernel = jnp.arange(200_000.0).reshape(400, 500)
    return TrainState(
        step=jnp.int32(0),
        params={'layer': {'kernel': kernel}},
        batch_stats={'layer': {'mean': jnp.ones(3)}},
        opt_state=(jnp.zeros(()), {'trace': -kernel}),
    )


@functools.partial(jax.jit, donate_argnums=0)
def advance(state):
    return jax.tree.map(lambda x: x + 1, state)


def steps_in(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_restores_what_was_saved_though_the_state_was_given_away(tmp_path, state):
    expected = {}
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        for step in range(5):
            expected[step] = jax.tree.map(np.array, state)
            checkpoints.save(step, state, {'step': step, 'unwritten': {'loss': 0.1 + step}})
            for _ in range(3):
                state = advance(state)
    for step in reversed(range(5)):
        with Checkpoints(tmp_path, keep=5) as checkpoints:
            restored, position = checkpoints.restore(checkpoints.steps()[-1], state)
        chex.assert_trees_all_equal(restored, expected[step])
        assert position == {'step': step, 'unwritten': {'loss': 0.1 + step}}
        remove(tmp_path / str(step))


NAMES = [
    'lr[0.1]',
    'lr[!a]',
    '{a,b}',
    'a*b?c',
    'a**b',
    'two  words',
    'ä→日本',
    '~',
    '50% $HOME %41',
    'new\nline',
    'dots...',
    'x' * 255,
    '#1?a=b&c:d',
    'quote\'"',
    '-option',
]


@pytest.mark.parametrize('name', NAMES, ids=range(len(NAMES)))
def test_every_character_of_a_path_stands_for_itself(tmp_path, state, name):
    (tmp_path / 'lr0').mkdir()  # What 'lr[0.1]' would be as a pattern.
    directory = tmp_path / name / 'checkpoints'
    with Checkpoints(directory, keep=2) as checkpoints:
        checkpoints.save(1, state, {'step': 1})
    with Checkpoints(directory, keep=2) as checkpoints:
        newest = checkpoints.restore_newest(lambda step: state)
        checkpoints.save(2, newest.state, {'step': 2}, {'eval/accuracy': 0.5})
    with Checkpoints(directory, keep=2) as checkpoints:
        newest = checkpoints.restore_newest(lambda step: state)
    chex.assert_trees_all_equal(newest.state, state)
    assert newest.position == {'step': 2}
    assert find_checkpoint(directory, 'best') == 2
    assert {path.name for path in tmp_path.iterdir()} == {'lr0', name}


def test_an_empty_directory_has_nothing_to_restore(tmp_path, state):
    with Checkpoints(tmp_path / 'new', keep=2) as checkpoints:
        assert checkpoints.steps() == []


@pytest.mark.parametrize('stopped', [False, True])
def test_keeps_the_newest_and_the_best(tmp_path, state, stopped):
    accuracies = {1: 0.5, 2: 0.9, 3: None, 4: 0.7, 5: 0.1, 6: None}
    # By one process or by two, the second of which has to know what was best.
    for part in [list(accuracies)] if not stopped else [[1, 2, 3], [4, 5, 6]]:
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            for step in part:
                accuracy = accuracies[step]
                evaluation = None if accuracy is None else {'eval/accuracy': accuracy}
                checkpoints.save(step, state, {}, evaluation)
    assert steps_in(tmp_path) == [2, 5, 6]


def test_where_a_run_was_stopped_does_not_count_as_one_of_the_newest(tmp_path, state):
    """Of those the newest is kept, as long as it is the newest of all."""
    saved = {3: [3], 4: [4], 5: [4, 5], 6: [4, 6], 8: [4, 8], 9: [4, 8, 9], 12: [8, 12]}
    for step, left in saved.items():
        with Checkpoints(tmp_path, keep=2, is_due=lambda step: step % 4 == 0) as checkpoints:
            checkpoints.save(step, state, {})
        assert steps_in(tmp_path) == left


def test_an_old_checkpoint_that_cannot_be_removed_does_not_end_training(
    tmp_path, state, capfd, monkeypatch
):
    def refuse(path):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(shutil, 'rmtree', refuse)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in range(3):
            checkpoints.save(step, state, {'step': step})
    assert steps_in(tmp_path) == [0, 1, 2]
    warnings = capfd.readouterr().err
    for step in range(2):
        message = f'the old checkpoint of step {step} cannot be removed: PermissionError'
        assert warnings.count(message) == 1


def test_a_work_directory_that_is_renamed_ends_training_and_is_not_made_anew(tmp_path, state):
    workdir, renamed = tmp_path / 'run', tmp_path / 'renamed'

    def save_renamed():
        with Checkpoints(workdir / 'checkpoints', keep=2) as checkpoints:
            checkpoints.save(1, state, {'step': 1})
            checkpoints.steps()
            workdir.rename(renamed)
            checkpoints.save(2, state, {'step': 2})

    with pytest.raises(CheckpointWriteError, match=r'/run was renamed or removed .* its new name'):
        save_renamed()
    assert not workdir.exists()
    assert steps_in(renamed / 'checkpoints') == [1]


def test_what_has_the_name_of_a_checkpoint_and_is_none_is_set_aside(tmp_path, state, capfd):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, state, {'step': 1})
    (tmp_path / '99').mkdir()
    (tmp_path / '5').write_text('')
    for name in ('²', '٣', '007', 'notes'):
        (tmp_path / name).mkdir()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.restore_newest(lambda step: state).step == 1
        checkpoints.save(5, state, {'step': 5})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {'1', '5', '5.unreadable', '99.unreadable', '²', '٣', '007', 'notes'}
    assert '99 is no checkpoint: it is set aside' in capfd.readouterr().err


@pytest.mark.parametrize('of_another', ['unreadable', 'not found', 'none at all'])
def test_processes_go_on_from_a_checkpoint_that_all_of_them_can_read(
    tmp_path, state, monkeypatch, capfd, of_another
):
    """What the other process says is made up: it finds, or can read, only step 1."""
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state, {'step': step})
        newest = {'unreadable': 3, 'not found': 1, 'none at all': -1}[of_another]
        # By turns the newest step, and whether it could be read.
        others = iter([newest, 0, 2, 0, 1, 1] if newest == 3 else [newest, 1])
        monkeypatch.setattr(
            module, '_of_each_process', lambda number: np.array([number, next(others)])
        )
        restored = checkpoints.restore_newest(lambda step: state)
    if of_another == 'none at all':
        assert restored is None
        assert steps_in(tmp_path) == [1, 2, 3]
    else:
        assert restored.step == 1
        assert checkpoints.steps() == steps_in(tmp_path) == [1]
        assert 'the checkpoint of step 3 cannot be read: another process' in capfd.readouterr().err


def test_a_lost_process_is_recognized_while_a_checkpoint_is_written(tmp_path, state, monkeypatch):
    def save_while_lost(self, *args, **kwargs):
        try:
            raise RuntimeError('DEADLINE_EXCEEDED: barrier timed out')
        except RuntimeError as error:
            raise TimeoutError('Timed out while waiting for a barrier.') from error

    checkpoints = Checkpoints(tmp_path, keep=1)
    monkeypatch.setattr(ocp.AsyncCheckpointer, 'save', save_while_lost)
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(TimeoutError) as raised:
        checkpoints.save(1, state, {})
    assert processes.is_peer_failure(raised.value)


def test_saving_a_step_twice_leaves_the_first(tmp_path, state):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(7, state, {'step': 7})
        checkpoints.save(7, advance(state), {'step': 8})
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        _, position = checkpoints.restore(7, advance(jax.tree.map(jnp.zeros_like, state)))
    assert position == {'step': 7}


def test_what_a_killed_process_left_unfinished_is_passed_over(tmp_path, state):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, state, {'step': 1})
        checkpoints.save(2, state, {'step': 2})
    # Orbax writes under a temporary name, and renames when all is there.
    (tmp_path / '2').rename(tmp_path / '3.orbax-checkpoint-tmp')
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.steps() == [1]
        _, position = checkpoints.restore(1, state)
    assert position == {'step': 1}


@pytest.fixture(scope='module')
def equals(tmp_path_factory):
    """The work directory of a run with two best evaluations; all weights are the step's number."""
    workdir = tmp_path_factory.mktemp('equals')
    options = {'blocks': (1, 1, 1), 'widths': (2, 3, 4), 'num_steps': 1}
    write_description(workdir, 'ms_resnet8', options)
    model = create_model('ms_resnet8', **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    with Checkpoints(workdir / 'checkpoints', keep=2) as checkpoints:
        for step, accuracy in enumerate([0.5, 0.9, 0.9, 0.7, 0.1, None]):
            variables = jax.tree.map(lambda x, s=step: jnp.full(x.shape, float(s)), dict(shapes))
            state = TrainState(jnp.int32(step), **variables, opt_state=())
            evaluation = None if accuracy is None else {'eval/accuracy': accuracy}
            checkpoints.save(step, state, {}, evaluation)
    return workdir


def test_of_equal_accuracies_the_latest_is_the_best_that_is_kept(equals):
    assert steps_in(equals / 'checkpoints') == [2, 4, 5]
    evaluations = {1: {'eval/accuracy': 0.9}, 2: {'eval/accuracy': 0.9}, 3: None}
    assert best_step(evaluations) == 2
    assert best_step({1: {'eval/accuracy': 0.9, 'eval/loss': float('nan')}, 2: None}) is None


@pytest.mark.parametrize(
    ('checkpoint', 'step'), [('newest', 5), ('best', 2), ('4', 4), (4, 4), (2, 2)]
)
def test_weights_of_any_checkpoint_are_loaded(equals, checkpoint, step):
    bias = load_weights(equals, checkpoint)['params']['classifier']['bias']
    np.testing.assert_array_equal(bias, np.full(10, step, np.float32))


@pytest.mark.parametrize('checkpoint', [3, '3', 'latest', '', '-1', '²', '2.0', '٢'])
def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(equals, checkpoint):
    with pytest.raises(WeightsError, match='there are newest, best, 2, 4, 5'):
        load_weights(equals, checkpoint)


def test_names_that_are_no_steps_are_passed_over(equals, tmp_path):
    for name in ('²', '٣', '007', '9', '8.unreadable', '6.orbax-checkpoint-tmp'):
        (tmp_path / name).mkdir()
    (tmp_path / '10').write_text('')
    with pytest.raises(WeightsError, match='there is none'):
        find_checkpoint(tmp_path)
    (tmp_path / '3').mkdir()
    (tmp_path / '3' / 'state').mkdir()
    assert find_checkpoint(tmp_path) == 3
    with pytest.raises(WeightsError, match="no checkpoint 'best'; there are newest, 3"):
        find_checkpoint(tmp_path, 'best')


def remove(directory):
    for path in sorted(directory.rglob('*'), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()
