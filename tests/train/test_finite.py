"""What is done about numbers that are not finite."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.data.pipeline import TrainingBatches
from snnjax.errors import ConfigError
from snnjax.train.checkpoints import Checkpoints
from snnjax.train.experiment import check
from snnjax.train.finite import NonFiniteError, first_fault, places
from snnjax.train.loop import train
from snnjax.train.metric_writer import read_metrics
from snnjax.train.sharding import make_mesh
from snnjax.train.state import TrainState
from tests.runs import outcome, program_of

# Of 11 steps, with a checkpoint at every fourth.
FAULTY = 7


@pytest.fixture
def config(config):
    config.batch_size = 128
    config.epochs = 1
    config.log_every = 3
    config.checkpoint.every_steps = 4
    config.checkpoint.keep = 4
    return config


@pytest.fixture
def _faulty_batch(monkeypatch):
    """Puts a number that is none into the images of a step."""
    iterate = TrainingBatches.iterate

    def with_fault(self, start, workers=0):
        for step, batch in enumerate(iterate(self, start, workers), start=start + 1):
            images = batch['image'].astype(np.float32)
            images[3, 0, 0] = np.nan if step == FAULTY else images[3, 0, 0]
            yield batch | {'image': images}

    monkeypatch.setattr(TrainingBatches, 'iterate', with_fault)


def written(workdir):
    return {record['step'] for record in read_metrics(workdir) if 'train/loss' in record}


@pytest.mark.usefixtures('_faulty_batch')
def test_training_stops_before_the_update_and_names_the_layer(config, tmp_path):
    with pytest.raises(NonFiniteError, match='step 7: the statistics of stem are not finite'):
        train(config, tmp_path)
    step, state, *_ = outcome(tmp_path)
    assert step == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.usefixtures('_faulty_batch')
@pytest.mark.parametrize('policy', ['skip', 'rollback'])
def test_a_step_can_be_passed_over(config, tmp_path, capsys, policy):
    """After a run that it has stopped, too; both end bit for bit alike."""
    config.on_non_finite = policy
    assert train(config, tmp_path / 'at once').finished
    assert 'step 7' in capsys.readouterr().out
    config.on_non_finite = 'stop'
    with pytest.raises(NonFiniteError):
        train(config, tmp_path / 'later')
    config.on_non_finite = policy
    assert train(config, tmp_path / 'later').finished
    expected, found = outcome(tmp_path / 'at once'), outcome(tmp_path / 'later')
    jax.tree.map(np.testing.assert_array_equal, expected[1], found[1])
    assert expected[0] == found[0] == 11
    assert expected[2:] == found[2:]
    assert expected[2]['non_finite'] == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected[1]))
    assert written(tmp_path / 'at once') == {3, 6, 9, 11}


@pytest.mark.usefixtures('_faulty_batch')
@pytest.mark.parametrize(
    ('policy', 'said'),
    [
        ('stop', []),
        ('skip', ['step 7 is skipped', 'step 18 is skipped']),
        ('rollback', ['weights of step 4\n', 'weights of step 15\n']),
    ],
)
def test_every_phase_has_the_policy_and_goes_back_within_itself(
    config, tmp_path, capsys, policy, said
):
    config.earlier_phases.first = {'optimizer': {'learning_rate': 0.05}}
    config.on_non_finite = policy
    if policy == 'stop':
        with pytest.raises(NonFiniteError, match='step 7'):
            train(config, tmp_path)
    else:
        assert train(config, tmp_path).finished
    faults = {
        record['step']: record['train/non_finite_steps']
        for record in read_metrics(tmp_path)
        if 'train/non_finite_steps' in record
    }
    assert faults == ({} if policy == 'stop' else {7: 1, 11 + 7: 1})
    step, state, *_ = outcome(tmp_path)
    assert step == (4 if policy == 'stop' else 22)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    out = capsys.readouterr().out
    assert all(line in out for line in said)


@pytest.mark.usefixtures('_faulty_batch')
def test_rollback_goes_back_to_the_same_weights_after_stops(config, tmp_path, monkeypatch):
    """Stopped twice between the checkpoint and the fault, and twice after it."""
    config.on_non_finite = 'rollback'
    config.checkpoint.keep = 2
    assert train(config, tmp_path / 'at once').finished
    expected = outcome(tmp_path / 'at once')
    stops = [5, 6, 7, 9]
    iterate = TrainingBatches.iterate

    def with_stops(self, start, workers=0):
        for step, batch in enumerate(iterate(self, start, workers), start=start + 1):
            if step in stops:
                stops.remove(step)
                signal.raise_signal(signal.SIGTERM)
            yield batch

    monkeypatch.setattr(TrainingBatches, 'iterate', with_stops)
    finished = [train(config, tmp_path / 'stopped').finished for _ in range(5)]
    assert finished == [False] * 4 + [True]
    found = outcome(tmp_path / 'stopped')
    jax.tree.map(np.testing.assert_array_equal, expected[1], found[1])
    assert expected[0] == found[0] == 11
    # Also the checkpoints that are kept: where it was stopped there are none any more.
    assert expected[2:] == found[2:]
    assert found[3] == [8, 11]


@pytest.mark.usefixtures('_faulty_batch')
def test_rollback_goes_back_to_the_weights_of_the_checkpoint_before(config, tmp_path):
    states = {}
    for policy in ('skip', 'rollback'):
        config.on_non_finite = policy
        config.checkpoint.every_steps = 1 if policy == 'skip' else 4
        config.checkpoint.keep = 11
        assert train(config, tmp_path / policy).finished
        program = program_of(config, make_mesh(), steps_per_epoch=11)
        with Checkpoints(tmp_path / policy / 'checkpoints', keep=11) as checkpoints:
            states[policy], _ = checkpoints.restore(8, program.abstract_state())
            if policy == 'skip':
                before, _ = checkpoints.restore(6, program.abstract_state())
                after, _ = checkpoints.restore(7, program.abstract_state())
    # A step that is passed over changes what counts steps, and nothing else.
    assert after.step == before.step + 1
    jax.tree.map(np.testing.assert_array_equal, after.variables, before.variables)
    assert states['skip'].step == states['rollback'].step == 8
    kernels = [state.params['classifier']['kernel'] for state in states.values()]
    assert (kernels[0] != kernels[1]).any()


@pytest.mark.usefixtures('_faulty_batch')
@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'on_non_finite': 'skip', 'max_non_finite': 0}, 'more than max_non_finite=0 steps'),
        (
            {'on_non_finite': 'rollback', 'checkpoint.every_steps': 9},
            'the phase has no checkpoint yet',
        ),
    ],
)
def test_there_is_an_end_to_it(config, tmp_path, changes, reason):
    config.update_from_flattened_dict(changes)
    with pytest.raises(NonFiniteError, match=reason):
        train(config, tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'on_non_finite': 'ignore'}, 'on_non_finite=ignore must be one of stop, skip, rollback'),
        ({'on_non_finite': 'rollback', 'checkpoint.keep': 1}, 'checkpoint.keep=1 must be at least'),
        ({'max_non_finite': -1}, 'max_non_finite=-1 must be at least 0'),
    ],
)
def test_a_policy_that_cannot_be_is_refused(config, changes, message):
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=message):
        check(config, 8)


LAYERS = ['stem', *(f'stage1/block{i}' for i in (1, 2, 10))]


def variables(kind, value):
    """A network of a convolution a block; one array of ``value`` is not finite."""
    trees = {'params': {'conv': {'kernel': (2, 3)}, 'norm': {'scale': (3,), 'bias': (3,)}}}
    trees['batch_stats'] = {'norm': {'mean': (3,), 'var': (3,)}}
    out = {}
    for collection, layer in trees.items():
        of_layer = {}
        for name in LAYERS:
            arrays = jax.tree.map(jnp.ones, layer, is_leaf=lambda x: isinstance(x, tuple))
            if (collection, name) in value:
                arrays['norm'] = jax.tree.map(lambda x: x.at[1].set(kind), arrays['norm'])
            of_layer[name] = arrays
        blocks = {name.split('/')[1]: {'conv1': of_layer[name]} for name in LAYERS[1:]}
        out[collection] = {'stem': of_layer['stem'], 'stage1': blocks}
    out['params']['classifier'] = {'kernel': jnp.ones((3, 2)), 'bias': jnp.ones(2)}
    return out


@pytest.mark.parametrize('kind', [np.nan, np.inf])
@pytest.mark.parametrize(
    ('value', 'loss', 'expected'),
    [
        ([], 1.0, None),
        ([('batch_stats', 'stage1/block10'), ('batch_stats', 'stage1/block2')], np.nan, 'stats 2'),
        ([('batch_stats', 'stem'), ('params', 'stem')], 1.0, 'stats stem'),
        ([('params', 'stem')], np.inf, 'loss'),
        ([('params', 'stem'), ('params', 'stage1/block10')], 1.0, 'params 10'),
        ([('params', 'stage1/block1'), ('params', 'stage1/block2')], 1.0, 'params 2'),
        ([('opt_state', 'stem')], 1.0, 'optimizer'),
        ([('opt_state', 'stem'), ('params', 'stem')], 1.0, 'params stem'),
    ],
)
def test_the_first_fault_in_the_order_of_the_computation_is_named(kind, value, loss, expected):
    words = {
        'stats stem': 'the statistics of stem are',
        'stats 2': 'the statistics of stage1/block2/conv1 are',
        'loss': 'the loss is',
        'params 10': 'the updated parameters of stage1/block10/conv1 are',
        'params 2': 'the updated parameters of stage1/block2/conv1 are',
        'params stem': 'the updated parameters of stem are',
        'optimizer': "the optimizer's state is",
    }
    tree = variables(kind, value)
    moment = jnp.ones(3).at[1].set(kind if ('opt_state', 'stem') in value else 1)
    state = TrainState(jnp.int32(1), **tree, opt_state=(jnp.int32(2), {'stem': moment}))
    number = int(first_fault(state, jnp.float32(loss)))
    assert number == (1 + places(tree).index(words[expected]) if expected else 0)
