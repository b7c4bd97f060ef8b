"""Several processes train together, over the loopback of this machine."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import time

import chex
import numpy as np
import pytest

from snnjax import main
from snnjax.train.metric_writer import read_metrics
from snnjax.weights.folder import load_weights
from tests.conftest import ROOT
from tests.processes import HANG, run, started, wait_until
from tests.runs import TINY_ON_DIGITS, assert_same_outcome, metrics_without_times, outcome

# Three steps an epoch: later, a neuron on its threshold makes of rounding another run.
RUN = [
    *TINY_ON_DIGITS,
    # Enough for arrays of which each process has files of its own.
    '--config.model.widths=(16,)',
    '--config.batch_size=360',
    '--config.epochs=1',
    '--config.log_every=1',
    '--config.checkpoint.every_steps=1',
    '--config.steps_per_call=1',
]


def free_port():
    with socket.socket() as listener:
        listener.bind(('localhost', 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def start(workdir, count, devices, *arguments):
    """Starts ``count`` processes of so many devices each, which end with the context."""
    port = free_port()
    environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
    command = [
        *(sys.executable, '-m', 'snnjax.main', f'--workdir={workdir}', f'--num_processes={count}'),
        *([f'--coordinator=localhost:{port}'] if count > 1 else []),
        *arguments,
    ]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                started([*command, f'--process_id={number}'], cwd=ROOT, env=environment)
            )
            for number in range(count)
        ]


def finish(processes):
    """Waits for all; returns their statuses, and what they printed."""
    outputs = [process.communicate(timeout=HANG) for process in processes]
    return [process.returncode for process in processes], outputs


def last_step(workdir):
    steps = [path.name for path in (workdir / 'checkpoints').glob('[0-9]*') if path.name.isdigit()]
    return max(map(int, steps), default=0)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """The work directory of one process with four devices."""
    workdir = tmp_path_factory.mktemp('alone')
    with start(workdir, 1, 4, *RUN) as processes:
        statuses, outputs = finish(processes)
    assert statuses == [0], outputs
    return workdir


def train_together(workdir, fsdp, *changes):
    """Two processes of two devices each, to their end; returns what each printed."""
    with start(workdir, 2, 2, *RUN, f'--config.fsdp={fsdp}', *changes) as processes:
        statuses, outputs = finish(processes)
    assert statuses == [0, 0], outputs
    return outputs


@pytest.fixture(scope='module')
def together(tmp_path_factory):
    """The work directory of two processes that share the parameters, and what each printed."""
    workdir = tmp_path_factory.mktemp('together')
    return workdir, train_together(workdir, fsdp=4)


@pytest.mark.parametrize('fsdp', [1, 4])
def test_processes_together_train_as_one_does(alone, tmp_path, fsdp, request):
    workdir, outputs = (
        (tmp_path, train_together(tmp_path, fsdp))
        if fsdp == 1
        else request.getfixturevalue('together')
    )
    # The first one speaks for all.
    assert 'on 4 cpu devices of 2 processes' in outputs[0][0]
    assert all('epoch' not in out for out, _ in outputs[1:])
    lines, expected = metrics_without_times(workdir), metrics_without_times(alone)
    assert [line['step'] for line in lines] == [line['step'] for line in expected]
    for line, other in zip(lines, expected, strict=True):
        assert line.keys() == other.keys()
        np.testing.assert_allclose(list(line.values()), list(other.values()), rtol=1e-5)
    assert last_step(workdir) == last_step(alone) == 3
    chex.assert_trees_all_close(load_weights(workdir), load_weights(alone), rtol=1e-4, atol=1e-6)


def test_all_steps_in_one_call_on_images_on_the_devices_are_the_same(together, tmp_path):
    several = ('--config.steps_per_call=3', '--config.log_every=3')
    on_device = ('--config.checkpoint.every_steps=0', '--config.data.on_device=true')
    train_together(tmp_path, 4, *several, *on_device)
    # The two programs may round differently; in `tests.train.test_calls` they agree bit for bit.
    found, expected = load_weights(tmp_path), load_weights(together[0])
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)


def test_a_checkpoint_damaged_for_one_process_is_passed_over_by_both(together, tmp_path):
    """Each process reads the parameters that it holds from files of its own."""
    workdir = shutil.copytree(together[0], tmp_path / 'run')
    files = (workdir / 'checkpoints/3/state/ocdbt.process_1/d').iterdir()
    arrays = max(files, key=lambda path: path.stat().st_size)
    os.truncate(arrays, 1000)
    (_, first), (_, second) = outputs = train_together(workdir, fsdp=4)
    assert 'process 1 cannot read the checkpoint of step 3: ' in second
    assert 'the checkpoint of step 3 cannot be read: another process cannot read it' in first
    assert 'going on from the one before, of step 2' in first
    assert 'continuing at step 2 of 3' in outputs[0][0]
    assert (workdir / 'checkpoints/3.unreadable').exists()
    assert_same_outcome(outcome(workdir), outcome(together[0]))


LONG_RUN = [
    *TINY_ON_DIGITS,
    '--config.epochs=10000',
    '--config.eval_every_epochs=10000',
    '--config.log_every=1',
    '--config.checkpoint.every_steps=5',
]


def wait_for_checkpoint(workdir, processes, after=0):
    wait_until(lambda: last_step(workdir) > after, *processes)


def test_a_signal_to_one_process_stops_all_of_them_after_the_same_step(tmp_path):
    with start(tmp_path, 2, 4, *LONG_RUN) as processes:
        wait_for_checkpoint(tmp_path, processes)
        processes[1].send_signal(signal.SIGTERM)
        statuses, outputs = finish(processes)
    assert statuses == [75, 75], outputs
    assert 'stopped and saved' in outputs[0][0]
    # Another number of processes, and of devices, goes on from there.
    step = last_step(tmp_path)
    assert read_metrics(tmp_path)[-1]['step'] == step
    with start(tmp_path, 1, 1, *LONG_RUN) as processes:
        wait_for_checkpoint(tmp_path, processes, after=step)
        processes[0].send_signal(signal.SIGTERM)
        statuses, outputs = finish(processes)
    assert statuses == [75], outputs
    assert f'continuing at step {step:,}' in outputs[0][0]


def test_a_lost_process_is_noticed_by_the_others(tmp_path):
    with start(tmp_path, 2, 2, *LONG_RUN, '--config.checkpoint.every_steps=100') as processes:
        wait_for_checkpoint(tmp_path, processes)
        # Not while the next checkpoint is written: then it takes longer until it is noticed.
        time.sleep(0.2)
        processes[1].kill()
        statuses, outputs = finish(processes)
    # It may be JAX that notices.
    assert statuses in ([75, -signal.SIGKILL], [-signal.SIGABRT, -signal.SIGKILL]), outputs
    noticed = ('another process of the run is gone', 'another task died', 'heartbeat')
    assert any(text in outputs[0][1] for text in noticed)
    step = last_step(tmp_path)
    with start(tmp_path, 1, 4, *LONG_RUN) as processes:
        wait_for_checkpoint(tmp_path, processes, after=step)
        processes[0].send_signal(signal.SIGTERM)
        statuses, outputs = finish(processes)
    assert statuses == [75], outputs
    assert 'continuing at step' in outputs[0][0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--num_processes=2'], '--num_processes and --process_id need --coordinator=HOST:PORT'),
        (
            ['--coordinator=localhost:1', '--num_processes=2', '--process_id=2'],
            '--process_id=2 must be 0 to --num_processes=2 less one',
        ),
        (['--coordinator=localhost:1', '--distributed'], 'not both'),
        (['--coordinator=localhost', '--num_processes=2'], 'must be HOST:PORT'),
    ],
)
def test_processes_that_cannot_join_say_what_is_missing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(ROOT)
    assert main.main([f'--workdir={tmp_path}', RUN[0], *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_process_that_is_on_no_cluster_says_so(tmp_path):
    arguments = [f'--workdir={tmp_path}', RUN[0], '--distributed']
    result = run([sys.executable, '-m', 'snnjax.main', *arguments], cwd=ROOT)
    assert result.returncode == 2
    assert 'cannot join the other processes' in result.stderr
    assert 'Traceback' not in result.stderr
