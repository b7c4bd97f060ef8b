"""The command line, as a user meets it."""

import json
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from snnjax.train.writers import read_metrics
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
    return subprocess.run(
        command(workdir, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=300
    )


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
    process = subprocess.Popen(
        command(workdir, *SMALL_RUN), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not set(checkpoints.glob('[0-9]*')) - before:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2))
    process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.parametrize('seed', [0, 1])
def test_a_run_that_was_killed_and_stopped_ends_as_one_that_was_not(finished_run, tmp_path, seed):
    rng = random.Random(seed)
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


def test_a_work_directory_of_another_run_is_refused(finished_run):
    result = run(finished_run[0], *SMALL_RUN, '--config.seed=5')
    assert result.returncode == 2
    assert 'holds a run with another configuration:\n  seed: 0 -> 5' in result.stderr
