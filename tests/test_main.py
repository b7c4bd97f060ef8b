"""The command line, as a user meets it."""

import json
import random
import re
import signal
import sys
import textwrap
import time

import jax
import numpy as np
import pytest

from snnjax.train.files import lock
from snnjax.train.writers import read_metrics
from tests import processes
from tests.conftest import ROOT
from tests.runs import outcome

SMALL_RUN = [
    '--config=configs/digits.py:depth=8,num_steps=1',
    '--config.epochs=4',
    '--config.log_every=10',
    '--config.checkpoint.every_steps=7',
]


def command(workdir, *arguments):
    return [sys.executable, '-m', 'snnjax.main', f'--workdir={workdir}', *arguments]


def run(workdir, *arguments):
    return processes.run(command(workdir, *arguments), cwd=ROOT)


@pytest.fixture(scope='module')
def finished_run(tmp_path_factory):
    """A work directory of a run that nothing disturbed, and what it printed."""
    workdir = tmp_path_factory.mktemp('finished')
    result = run(workdir, *SMALL_RUN)
    assert result.returncode == 0, result.stderr
    return workdir, result


def stop_at_random(workdir, rng, number):
    """Starts the run, sends a signal some time after its next checkpoint; returns the status."""
    checkpoints = workdir / 'checkpoints'
    before = set(checkpoints.glob('[0-9]*'))
    with processes.started(command(workdir, *SMALL_RUN), cwd=ROOT) as process:
        processes.wait_until(lambda: set(checkpoints.glob('[0-9]*')) - before, process)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(number)
        process.communicate(timeout=processes.HANG)
    return process.returncode


def test_a_run_that_was_killed_and_stopped_ends_as_one_that_was_not(finished_run, tmp_path):
    rng = random.Random(0)
    assert stop_at_random(tmp_path, rng, signal.SIGKILL) == -signal.SIGKILL
    assert stop_at_random(tmp_path, rng, signal.SIGTERM) == 75
    result = run(tmp_path, *SMALL_RUN)
    assert result.returncode == 0, result.stderr
    assert 'continuing at step' in result.stdout
    expected, found = outcome(finished_run[0]), outcome(tmp_path)
    paths = jax.tree.leaves_with_path(expected[1])
    for (path, a), b in zip(paths, jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]


def test_a_run_leaves_its_record(finished_run):
    workdir, result = finished_run
    steps_per_epoch = 1437 // 32
    records = read_metrics(workdir)
    evaluations = [record for record in records if 'eval/accuracy' in record]
    assert [record['step'] for record in evaluations] == [
        epoch * steps_per_epoch for epoch in (1, 2, 3, 4)
    ]
    training = [record for record in records if 'train/loss' in record]
    assert [record['step'] for record in training] == list(range(10, 4 * steps_per_epoch + 1, 10))
    assert training[-1]['train/loss'] < training[0]['train/loss']
    assert {'train/accuracy', 'train/firing_rate', 'train/learning_rate'} <= training[0].keys()
    config = json.loads((workdir / 'config.json').read_text())
    assert config['model']['name'] == 'ms_resnet8'
    for name in ('environment.jsonl', 'curves.png', 'tensorboard', 'checkpoints'):
        assert (workdir / name).exists()
    last_line = result.stdout.splitlines()[-1]
    assert last_line == f'test accuracy: {evaluations[-1]["eval/accuracy"]:.3f}'
    assert result.stderr == ''


def test_a_finished_run_says_its_result_again(finished_run):
    workdir, first = finished_run
    again = run(workdir, *SMALL_RUN)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-2:] == first.stdout.splitlines()[-2:]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], '--config is missing'),
        (['--config=configs/cifar.py'], 'no config file configs/cifar.py'),
        (
            ['--config=configs/digits.py', '--config.optimizer.momentun=0'],
            "unknown config key 'optimizer.momentun'; did you mean optimizer.momentum",
        ),
        (['--config=configs/digits.py', '--config.batch_size=x'], 'config.batch_size=x'),
        (['--config=configs/digits.py', '--config.batch_size=2000'], 'at most the 1437 training'),
        (
            ['--config=configs/cifar10.py', '--config.data.dir=/nowhere'],
            'python -m snnjax.tools.prepare cifar10',
        ),
        (['--config=configs/cifar10.py:recipe=author'], "unknown recipe 'author'; did you mean"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(tmp_path, arguments, message):
    result = run(tmp_path / 'run', *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith('error: ')
    assert 'Traceback' not in result.stderr


def test_a_work_directory_in_use_is_refused(finished_run):
    with lock(finished_run[0]):
        result = run(finished_run[0], *SMALL_RUN)
    assert result.returncode == 2
    assert result.stderr.startswith(f'error: --workdir={finished_run[0]} is in use by process ')


def test_numbers_that_are_not_finite_end_a_run(tmp_path):
    result = run(tmp_path, *SMALL_RUN, '--config.optimizer.learning_rate=1e38')
    assert result.returncode == 1
    assert re.match(r'error: step \d: the \w+ of \S+ (is|are) not finite; the', result.stderr)
    assert '--config.on_non_finite=skip' in result.stderr


def test_a_dry_run_says_what_would_be_trained_and_leaves_nothing(tmp_path):
    result = run(tmp_path / 'run', *SMALL_RUN, '--dry_run')
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('ms_resnet8: 77,754 parameters, 1 time step\n')
    for line in (
        r'  stage3/block1 +57,728',
        r'training: 176 steps in 4 epochs, evaluated 4 times',
        r'  batch: image \(32, 8, 8, 1\) uint8, label \(32,\) int32',
        r'  memory of a step on each device: 0\.6 MB of state and batch, [\d.]+ MB while',
    ):
        assert re.search(f'^{line}', result.stdout, re.MULTILINE)
    assert not (tmp_path / 'run').exists()


def test_the_configuration_can_be_printed(finished_run):
    command = [sys.executable, '-m', 'snnjax.main', *SMALL_RUN, '--print_config']
    result = processes.run(command, cwd=ROOT)
    assert json.loads(result.stdout) == json.loads((finished_run[0] / 'config.json').read_text())


def test_a_work_directory_of_another_run_is_refused(finished_run):
    result = run(finished_run[0], *SMALL_RUN, '--config.seed=5')
    assert result.returncode == 2
    assert 'holds a run with another configuration:\n  seed: 0 -> 5' in result.stderr


def test_what_ends_a_run_has_its_exit_status(tmp_path):
    """What cannot easily be brought about from outside."""
    code = """
        from absl import flags
        from snnjax import data, main
        from snnjax.train import checkpoints, files, finite
        flags.FLAGS(sys.argv)
        for error in (
            checkpoints.CheckpointWriteError('full'),
            checkpoints.CheckpointError('damaged'),
            files.WorkdirError('read-only'),
            finite.NonFiniteError(3, 'the loss is'),
            data.WorkerLostError('killed'),
        ):
            def fail(*arguments):
                raise error
            main.train = fail
            try:
                main.main([])
            except SystemExit as end:
                print(end.code)
    """
    command = [sys.executable, '-c', f'import sys\n{textwrap.dedent(code)}', SMALL_RUN[0]]
    result = processes.run([*command, f'--workdir={tmp_path}'], cwd=ROOT)
    assert result.stdout.split() == ['1', '2', '2', '1', '75'], result.stderr
    assert result.stderr.count('error: ') == 5
