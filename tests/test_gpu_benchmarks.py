"""Benchmarks for GPUs, as far as they run on a CPU."""

import importlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _neighbours(monkeypatch):
    """Benchmarks import their neighbours, as scripts do."""
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')


@pytest.fixture
def peers():
    return importlib.import_module('gpu_peers')


def test_programs_with_other_losses_are_found(peers):
    results = {
        'snnjax': {'losses': [2.0, 1.0]},
        'alike': {'losses': [2.01, 1.005]},
        'other': {'losses': [2.0, 1.2]},
        'failed': {'error': 'out of memory'},
    }
    assert peers.disagreements(results, 0.01).keys() == {'other'}
    assert peers.disagreements({**results, 'snnjax': {'error': 'x'}}, 0.01) == {}


def test_shares_are_by_our_count_of_operations(peers):
    results = {
        'snnjax': {'seconds': 0.5, 'flops': 100.0, 'bytes': 30.0},
        'pytorch': {'seconds': 2.0},
        'compiled': {'error': 'no answer within 5 s'},
    }
    peers.add_shares(results, {'flops': 400.0, 'bandwidth': 120.0})
    assert results['snnjax']['mfu'] == 0.5
    assert results['pytorch']['mfu'] == 0.125
    assert results['snnjax']['floor_seconds'] == {'compute': 0.25, 'memory': 0.25}
    assert results['snnjax']['bandwidth_share'] == 0.5
    assert results['compiled'] == {'error': 'no answer within 5 s'}


def test_a_worker_that_fails_or_is_slow_is_an_error(peers, monkeypatch, tmp_path):
    scripts = {
        'fails': 'raise ValueError("out of memory")',
        'sleeps': 'import time; time.sleep(60)',
        'answers': 'input(); print("{\\"seconds\\": 1}", flush=True); input()',
    }
    started = subprocess.Popen

    def start(command, **options):
        name = command[2].removeprefix('--worker=')
        return started([sys.executable, '-c', scripts[name]], **options)

    monkeypatch.setattr(peers.subprocess, 'Popen', start)
    workers = {name: peers.Worker(name, [], {}, tmp_path / name) for name in scripts}
    try:
        workers['answers'].ask('time 2')
        assert workers['answers'].answer(30) == {'seconds': 1}
        with pytest.raises(peers.WorkerError, match='ValueError: out of memory'):
            workers['fails'].answer(30)
        with pytest.raises(peers.WorkerError, match='no answer within 0 s'):
            workers['sleeps'].answer(0.1)
    finally:
        for worker in workers.values():
            worker.close()


def test_seconds_in_the_loop_are_between_lines_of_training(monkeypatch):
    loop = importlib.import_module('loop')
    times = iter([10.0, 11.0, 13.0])
    monkeypatch.setattr(loop.time, 'perf_counter', lambda: next(times))
    signals = []
    monkeypatch.setattr(loop.signal, 'raise_signal', signals.append)
    clock = loop.Clock(300)
    clock.write(100, {'train/loss': 1.0})
    clock.write(150, {'eval/loss': 1.0})
    clock.write(200, {'train/loss': 1.0})
    assert signals == []
    clock.write(300, {'train/loss': 1.0})
    assert clock.seconds() == 3.0 / 200
    assert signals == [loop.signal.SIGTERM]
