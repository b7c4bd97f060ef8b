import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.train.checkpoints import Checkpoints
from snnjax.train.state import TrainState
from snnjax.train.weights import WeightsError, best_step, find_checkpoint, load_weights


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
    """The work directory of a run with two best evaluations; step by step its kernel grows by 1."""
    workdir = tmp_path_factory.mktemp('equals')
    (workdir / 'model.json').write_text('{"name": "ms_resnet8", "options": {}}')
    with Checkpoints(workdir / 'checkpoints', keep=2) as checkpoints:
        for step, accuracy in enumerate([0.5, 0.9, 0.9, 0.7, 0.1, None]):
            params = {'layer': {'kernel': jnp.full((2, 3), float(step))}}
            state = TrainState(jnp.int32(step), params, {'layer': {'mean': jnp.ones(3)}}, ())
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
    kernel = load_weights(equals, checkpoint)['params']['layer']['kernel']
    np.testing.assert_array_equal(kernel, np.full((2, 3), step, np.float32))


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
