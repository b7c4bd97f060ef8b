"""Work directories that something is wrong with."""

import gc
import resource
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from snnjax.train.checkpoints import CheckpointError, Checkpoints, CheckpointWriteError
from snnjax.train.config import ConfigError, default_config
from snnjax.train.loop import train
from snnjax.train.run_directory import WorkdirError, lock
from snnjax.train.state import TrainState
from tests.conftest import ROOT
from tests.processes import started

# What Orbax's threads were about to do when the first file failed.
pytestmark = [
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
    pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning'),
]


@pytest.fixture(autouse=True)
def _collect():
    """Lets them come to light in the test that they are of."""
    yield
    gc.collect()


@pytest.fixture(scope='module')
def state():
    kernel = np.arange(2000.0, dtype=np.float32).reshape(40, 50)
    return jax.tree.map(
        jax.numpy.asarray,
        TrainState(
            step=np.int32(0),
            params={'layer': {'kernel': kernel}},
            batch_stats={'layer': {'mean': np.ones(3, np.float32)}},
            opt_state=({'trace': {'layer': {'kernel': -kernel}}},),
        ),
    )


@pytest.fixture(scope='module')
def saved(state, tmp_path_factory):
    """Checkpoints of steps 1, 2 and 3, the second of which is the best."""
    directory = tmp_path_factory.mktemp('saved')
    with Checkpoints(directory, keep=3) as checkpoints:
        for step, accuracy in ((1, 0.1), (2, 0.9), (3, 0.5)):
            evaluation = {'eval/accuracy': accuracy, 'eval/loss': 1.0}
            checkpoints.save(step, state, {'number': step}, evaluation)
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    """A copy of it."""
    return shutil.copytree(saved, tmp_path / 'checkpoints')


def files_of(directory):
    return sorted(path for path in directory.rglob('*') if path.is_file())


def damage(path, how):
    content = path.read_bytes()
    if how == 'gone':
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == 'truncated' else b'')


def restore(directory, state):
    with Checkpoints(directory, keep=3) as checkpoints:
        return checkpoints.restore_newest(lambda step: state)


@pytest.mark.parametrize('how', ['truncated', 'empty', 'gone'])
def test_a_checkpoint_with_a_damaged_file_is_whole_or_passed_over(directory, state, how, capfd):
    """Each file in turn: what is read is never something else than what was saved."""
    passed_over = set()
    for file in files_of(directory / '3'):
        name = file.relative_to(directory / '3')
        shutil.copytree(directory, copy := directory.parent / 'copy')
        damage(copy / '3' / name, how)
        newest = restore(copy, state)
        jax.tree.map(np.testing.assert_array_equal, newest.state, state)
        assert newest.position == {'number': newest.step}
        warning = capfd.readouterr().err
        if str(name) == 'metrics/metrics' and how != 'gone':
            assert 'the evaluation of step 3 cannot be read' in warning
        if newest.step == 2:
            passed_over.add(name.name)
            assert 'the checkpoint of step 3 cannot be read' in warning
            assert not (copy / '3').exists()
            assert len(files_of(copy / '3.unreadable')) >= len(files_of(directory / '3')) - 1
        else:
            assert newest.step == 3
        shutil.rmtree(copy)
    assert {'_METADATA', 'manifest.ocdbt', 'metadata'} <= passed_over


def test_what_was_set_aside_does_not_count_and_is_kept(directory, state):
    """Neither as one of the newest few, nor as the best."""
    for path in files_of(directory / '3' / 'state'):
        damage(path, 'empty')
    with Checkpoints(directory, keep=1) as checkpoints:
        assert checkpoints.restore_newest(lambda step: state).step == 2
        for step in (3, 4):
            checkpoints.save(step, state, {}, {'eval/accuracy': 0.2, 'eval/loss': 1.0})
    assert {path.name for path in directory.iterdir()} == {'2', '3.unreadable', '4'}


def test_where_no_checkpoint_can_be_read_all_are_named_and_left(directory, state):
    for step in '123':
        damage(directory / step / 'state' / '_METADATA', 'empty')
    with pytest.raises(CheckpointError, match=r'(?s)step 3: .*step 2: .*step 1: .*Put back a copy'):
        restore(directory, state)
    assert {'1', '2', '3'} <= {path.name for path in directory.iterdir()}


def test_a_checkpoint_of_another_model_is_not_taken_for_a_damaged_one(directory, state):
    other = state._replace(
        params={'layer': {'kernel': jax.numpy.zeros((40, 10))}}, batch_stats={'norm': {}}
    )
    message = (
        r'(?s)step 3 .*another model, data set or optimizer:\n'
        r'  batch_stats/layer/mean: \(3,\) float32, expected none\n'
        r'  params/layer/kernel: \(40, 50\) float32, expected \(40, 10\) float32'
    )
    with pytest.raises(CheckpointError, match=message):
        restore(directory, other)
    assert {path.name for path in directory.iterdir()} == {'1', '2', '3'}


def test_a_loss_that_is_no_number_is_never_the_best(state, tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step, (accuracy, loss) in enumerate([(0.2, 1.0), (0.9, np.nan), (0.8, np.inf)]):
            evaluation = {'eval/accuracy': accuracy, 'eval/loss': loss}
            checkpoints.save(step, state, {}, evaluation)
        checkpoints.save(3, state, {})
    assert {path.name for path in tmp_path.iterdir()} == {'0', '3'}


def test_a_disk_that_is_full_leaves_the_last_good_checkpoint(directory, state):
    """With a limit on the size of files, which the system meets with an error, too."""
    before = files_of(directory)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_another():
        with Checkpoints(directory, keep=1) as checkpoints:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            checkpoints.save(4, state, {})

    try:
        with pytest.raises(CheckpointWriteError, match='the last good one is of step 3'):
            save_another()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert set(before) <= set(files_of(directory))
    assert restore(directory, state).step == 3


def test_a_work_directory_has_room_for_one_command(tmp_path):
    command = (
        'import pathlib, sys\n'
        'from snnjax.train.run_directory import lock\n'
        'with lock(pathlib.Path(sys.argv[1])):\n'
        '    print("locked", flush=True)\n'
        '    sys.stdin.read()\n'
    )
    command = [sys.executable, '-c', command, str(tmp_path)]
    with started(command, cwd=ROOT, stdin=subprocess.PIPE) as other:
        assert other.stdout.readline() == 'locked\n'
        with (
            pytest.raises(WorkdirError, match=f'in use by process {other.pid} on '),
            lock(tmp_path),
        ):
            pass
    with lock(tmp_path):  # The system has let go of it.
        pass


def test_what_cannot_be_run_leaves_no_work_directory(digits_run, tmp_path):
    weights, config = digits_run
    config = config.copy_and_resolve_references()
    config.model.name = 'ms_resnet14'
    config.init_from = str(weights)
    with pytest.raises(ConfigError, match='the weights do not fit the model'):
        train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_a_work_directory_that_cannot_be_written_to_is_refused_first(tmp_path):
    (tmp_path / 'file').write_text('')
    config = default_config()
    config.data.name = 'digits'
    config.batch_size = config.eval_batch_size = 8
    with pytest.raises(WorkdirError, match='cannot be written to: Not a directory'):
        train(config, tmp_path / 'file' / 'run')
