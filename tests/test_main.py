"""The command line, as a user meets it."""

import functools
import json
import os
import random
import re
import shlex
import signal
import sys
import time

import pytest

from snnjax import data, main
from snnjax.analysis import figures
from snnjax.train import checkpoints, feed, finite, loop
from snnjax.train.config_file import read_config
from snnjax.train.metric_writer import read_metrics
from snnjax.train.run_directory import WorkdirError, lock
from snnjax.train.signals import SIGNALS
from tests import processes
from tests.conftest import ROOT
from tests.runs import TINY_ON_DIGITS, assert_same_outcome, outcome

SMALL_RUN = [
    *TINY_ON_DIGITS,
    '--config.epochs=4',
    '--config.log_every=10',
    '--config.checkpoint.every_steps=11',
]

# For the eight devices of the tests.
IN_PROCESS = [
    *TINY_ON_DIGITS,
    '--config.epochs=1',
    '--config.batch_size=360',
    '--config.eval_batch_size=360',
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


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Calls the command as what this process is for; returns its exit status."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.chdir(ROOT)
    # They are replaced.
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, getattr(sys, name))

    def call(*arguments, workdir=tmp_path / 'run', run=IN_PROCESS):
        monkeypatch.setattr(sys, 'argv', ['main', f'--workdir={workdir}', *run, *arguments])
        with pytest.raises(SystemExit) as end:
            main.run_process()
        return end.value.code

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def stop_at_random(workdir, rng, number):
    """Starts the run, sends a signal some time after its next checkpoint; returns the status."""
    checkpoints = workdir / 'checkpoints'
    before = set(checkpoints.glob('[0-9]*'))
    with processes.started(command(workdir, *SMALL_RUN), cwd=ROOT) as process:
        processes.wait_until(lambda: set(checkpoints.glob('[0-9]*')) - before, process)
        time.sleep(rng.uniform(0, 0.1))
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
    assert_same_outcome(outcome(tmp_path), outcome(finished_run[0]))


# A config file that lets a function take no end when it is called for the third time, and tells
# what happened by files beside itself.
HANGING = """
import itertools, runpy, time
from pathlib import Path
from snnjax.train import {module}
from snnjax.train.signals import StopRequest

calls, function, note = itertools.count(1), {module}.{name}, StopRequest._note

def hang(*arguments):
    if next(calls) == 3:
        Path(__file__).with_name('hanging').touch()
        time.sleep({seconds})
    return function(*arguments)

def tell(*arguments):
    note(*arguments)
    Path(__file__).with_name('noted').touch()

{module}.{name}, StopRequest._note = hang, tell

def get_config():
    return runpy.run_path('configs/digits.py')['get_config'](depth=8, num_steps=1)
"""


@pytest.mark.parametrize(
    ('module', 'name', 'saved'),
    [
        # It is called twice for a checkpoint: before it gets its name, and after.
        ('checkpoint_files', 'sync_tree', ['11']),
        ('feed', 'put_batch', []),
    ],
)
def test_a_second_ctrl_c_ends_a_run_at_once(finished_run, tmp_path, module, name, saved):
    """While it writes a checkpoint that takes no end, and while it takes a step."""
    config, workdir = tmp_path / 'hanging.py', tmp_path / 'run'
    config.write_text(HANGING.format(module=module, name=name, seconds=processes.HANG))
    hanging = command(workdir, f'--config={config}', *SMALL_RUN[1:])
    with processes.started(hanging, cwd=ROOT) as process:
        for happened in ('hanging', 'noted'):
            processes.wait_until((tmp_path / happened).exists, process)
            process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=processes.HANG / 2)[1]
    assert process.returncode == 75
    assert err.startswith('error: stopped by a signal\nthe same command resumes')
    left = sorted(path.name for path in (workdir / 'checkpoints').iterdir())
    assert [name for name in left if name.isdigit()] == saved
    if saved:
        # What is left is gone on from.
        result = run(workdir, *SMALL_RUN)
        assert result.returncode == 0, result.stderr
        assert 'continuing at step 11 ' in result.stdout
        assert_same_outcome(outcome(workdir), outcome(finished_run[0]))


def test_a_run_leaves_its_record(finished_run):
    workdir, result = finished_run
    steps_per_epoch = 1437 // 32
    records = read_metrics(workdir)
    evaluations = [record for record in records if 'eval/accuracy' in record]
    assert [record['step'] for record in evaluations] == [
        epoch * steps_per_epoch for epoch in (1, 2, 3, 4)
    ]
    training = [record for record in records if 'train/loss' in record]
    # The last line is of the steps that are left.
    steps = 4 * steps_per_epoch
    assert [record['step'] for record in training] == [*range(10, steps, 10), steps]
    assert training[-1]['train/loss'] < training[0]['train/loss']
    assert {'train/accuracy', 'train/firing_rate', 'train/learning_rate'} <= training[0].keys()
    config = json.loads((workdir / 'config.json').read_text())
    assert config['model']['name'] == 'ms_resnet8'
    for name in ('environment.jsonl', 'curves.png', 'tensorboard', 'checkpoints'):
        assert (workdir / name).exists()
    last_line = result.stdout.splitlines()[-1]
    assert last_line == f'test accuracy: {evaluations[-1]["eval/accuracy"]:.3f}'
    assert result.stderr == ''


def test_a_finished_run_says_its_result_again(process, finished_run, capsys):
    workdir, first = finished_run
    assert process(workdir=workdir, run=SMALL_RUN) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[-2:] == first.stdout.splitlines()[-2:]


# In batches for the eight devices of the tests.
CIFAR10 = ['--config=configs/cifar10.py', '--config.batch_size=80', '--config.eval_batch_size=80']


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
            [*CIFAR10, '--config.data.dir=/nowhere'],
            'python -m snnjax.tools.prepare cifar10',
        ),
        (['--config=configs/cifar10.py:recipe=author'], "unknown recipe 'author'; did you mean"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(process, capsys, arguments, message):
    assert process(*arguments, run=[]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith('error: ')
    assert 'Traceback' not in err


def test_a_work_directory_in_use_is_refused(process, finished_run, capsys):
    with lock(finished_run[0]):
        assert process(workdir=finished_run[0], run=SMALL_RUN) == 2
    err = capsys.readouterr().err
    assert err.startswith(f'error: --workdir={finished_run[0]} is in use by process ')


def test_numbers_that_are_not_finite_end_a_run(tmp_path):
    result = run(tmp_path, *SMALL_RUN, '--config.optimizer.learning_rate=1e38')
    assert result.returncode == 1
    assert re.match(
        r'error: step \d: the \w+ of \S+ (is|are) not finite\nthe step is in no', result.stderr
    )
    assert '--config.on_non_finite=skip' in result.stderr


def test_a_dry_run_says_what_would_be_trained_and_leaves_nothing(tmp_path):
    result = run(tmp_path / 'run', SMALL_RUN[0], '--config.epochs=4', '--dry_run')
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


def test_the_configuration_can_be_printed(process, finished_run, capsys):
    assert process('--print_config', run=SMALL_RUN) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads((finished_run[0] / 'config.json').read_text())


def test_a_work_directory_of_another_run_is_refused(process, finished_run, capsys):
    assert process('--config.seed=5', workdir=finished_run[0], run=SMALL_RUN) == 2
    err = capsys.readouterr().err
    assert 'holds a run with another configuration:\n  seed: 0 -> 5' in err


@pytest.mark.parametrize(
    ('error', 'status', 'advice'),
    [
        (checkpoints.CheckpointWriteError('full'), 1, ''),
        (checkpoints.CheckpointError('damaged'), 2, ''),
        (WorkdirError('read-only'), 2, ''),
        (finite.NonFiniteError(3, 'the loss is'), 1, '--config.on_non_finite=skip'),
        (data.WorkerLostError('killed'), 75, 'again to resume from the last checkpoint'),
        (KeyboardInterrupt(), 75, 'the same command resumes from the last checkpoint'),
    ],
)
def test_what_ends_a_run_has_its_exit_status(process, monkeypatch, capsys, error, status, advice):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(loop, 'train', fail)
    assert process() == status
    err = capsys.readouterr().err
    assert err.startswith('error: ')
    assert advice in err


def send_after(monkeypatch, module, name, number):
    """Lets a function of a module send this process a signal when it returns."""
    function = getattr(module, name)

    @functools.wraps(function)
    def called(*arguments, **options):
        result = function(*arguments, **options)
        os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(module, name, called)


@pytest.mark.parametrize(
    ('number', 'module', 'name', 'status', 'step'),
    [
        # Noted while a run begins.
        (signal.SIGTERM, loop, 'open_experiment', 75, None),
        (signal.SIGHUP, loop, 'write_config', 75, None),
        # The step at hand is the last one that is done.
        (signal.SIGINT, feed, 'put_batch', 75, 1),
        # Nothing is left to do but to save, or to draw.
        (signal.SIGTERM, loop, 'evaluate', 0, 3),
        (signal.SIGHUP, figures, 'save_learning_curves', 0, 3),
    ],
)
def test_a_signal_at_any_moment_has_its_status(
    process, monkeypatch, tmp_path, number, module, name, status, step
):
    with monkeypatch.context() as patch:
        send_after(patch, module, name, number)
        assert process() == status
    saved = sorted(path.name for path in (tmp_path / 'run/checkpoints').glob('[0-9]*'))
    assert saved == ([str(step)] if step else [])
    # The same command goes on, or says its result again.
    assert process() == 0


def test_a_finished_run_without_metrics_says_so(process, tmp_path, capsys):
    assert process() == 0
    for content in (None, '', '{"step": 1, "train/loss": 1.0}\n'):
        path = tmp_path / 'run/metrics.jsonl'
        path.unlink()
        if content is not None:
            path.write_text(content)
        capsys.readouterr()
        assert process() == 0
        assert 'training is finished; ' in (out := capsys.readouterr().out)
        assert f'python -m snnjax.tools.evaluate --weights={tmp_path / "run"}' in out


def test_metrics_that_are_deleted_in_mid_run_are_written_again(process, monkeypatch, tmp_path):
    path = tmp_path / 'run/metrics.jsonl'
    monkeypatch.setattr(loop, 'evaluate', wrap(loop.evaluate, path.unlink))
    assert process('--config.log_every=1', '--config.epochs=2') == 0
    assert [record['step'] for record in read_metrics(tmp_path / 'run')] == [1, 2, 3, 3, 4, 5, 6, 6]


def wrap(function, before):
    """A function that does something else before."""

    def called(*arguments, **options):
        before()
        return function(*arguments, **options)

    return called


def test_curves_that_cannot_be_drawn_end_nothing(process, tmp_path, capsys):
    (tmp_path / 'run/curves.png').mkdir(parents=True)
    assert process() == 0
    assert 'no learning curves: [Errno 21] Is a directory' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('workdir', 'message'),
    [
        ('~nobody_of_this_name/run', '~nobody_of_this_name/run: there is no user of this name'),
        (300 * 'x', 'cannot be written to: File name too long'),
        (20 * f'{200 * "x"}/', 'is too long: a path has at most'),
    ],
)
def test_a_work_directory_that_cannot_be_is_refused(process, capsys, workdir, message):
    assert process(workdir=workdir) == 2
    assert message in (err := capsys.readouterr().err)
    assert err.startswith('error: ')
    assert err.count('\n') == 1


def test_the_configuration_is_compared_under_the_lock(process, monkeypatch, tmp_path, capsys):
    """Another command may begin a run while this one looks at its data."""

    open_experiment = loop.open_experiment

    def begin_another():
        monkeypatch.setattr(loop, 'open_experiment', open_experiment)
        path = SMALL_RUN[0].removeprefix('--config=')
        config = read_config(path, [*IN_PROCESS[1:], '--config.seed=1'])
        assert loop.train(config, tmp_path / 'run')

    monkeypatch.setattr(loop, 'open_experiment', wrap(open_experiment, begin_another))
    assert process() == 2
    assert 'seed: 1 -> 0' in capsys.readouterr().err
    assert json.loads((tmp_path / 'run/config.json').read_text())['seed'] == 1


@pytest.mark.parametrize('module', ['main', 'tools.bench_data', 'tools.plan_tpu'])
def test_help_shows_an_example_without_importing_jax(module):
    code = (
        'import atexit, runpy, sys\n'
        'atexit.register(lambda: print("jax" in sys.modules))\n'
        f'sys.argv = ["x", "--help"]; runpy.run_module("snnjax.{module}", run_name="__main__")'
    )
    result = processes.run([sys.executable, '-c', code], cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert f'python -m snnjax.{module} --config=configs/' in result.stdout
    assert result.stdout.splitlines()[-1] == 'False'


def test_output_that_cannot_be_written_does_not_end_a_run(tmp_path):
    """To a device that is always full, and to descriptors that are closed."""
    for name, redirection in (('full', '>/dev/full 2>&1'), ('closed', '<&- >&- 2>&-')):
        words = shlex.join(command(tmp_path / name, *SMALL_RUN, '--config.epochs=1'))
        assert processes.run(['sh', '-c', f'exec {words} {redirection}'], cwd=ROOT).returncode == 0
        assert read_metrics(tmp_path / name)[-1]['step'] == 44
        assert (tmp_path / name / 'checkpoints/44').exists()
