"""Benchmarks for GPUs, as far as they run on a CPU."""

import importlib
import subprocess
import sys

import pytest

import snnjax
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _neighbors(monkeypatch):
    """Benchmarks import their neighbors, as scripts do."""
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
    monkeypatch.setattr(loop, 'now', lambda: (next(times), 0.0))
    signals = []
    monkeypatch.setattr(loop.signal, 'raise_signal', signals.append)
    clock = loop.Clock(300)
    clock.write(100, {'train/loss': 1.0})
    clock.write(150, {'eval/loss': 1.0})
    clock.write(200, {'train/loss': 1.0})
    assert signals == []
    clock.write(300, {'train/loss': 1.0})
    assert clock.seconds() == (3.0 / 200, 0.0)
    assert signals == [loop.signal.SIGTERM]


def test_a_variant_is_predicted_by_the_ratio_of_its_floors():
    variants = importlib.import_module('gpu_variants')
    speeds = {'flops': 10.0, 'bandwidth': 10.0}
    base = {'seconds': 3.0, 'flops': 10.0, 'bytes': 20.0}
    # Half of the bytes, so that operations limit; then more of these.
    assert variants.predict(base, {'flops': 10.0, 'bytes': 5.0}, speeds) == 1.5
    assert variants.predict(base, {'flops': 40.0, 'bytes': 5.0}, speeds) == 6.0
    assert variants.predict(base, {'flops': 0, 'bytes': 5.0}, speeds) is None


def test_every_variant_names_what_there_is():
    variants = importlib.import_module('gpu_variants')
    patches = {variant.patch for variant in variants.VARIANTS.values()} - {''}
    assert patches == set(variants.PATCHES)
    model = snnjax.create_model('ms_resnet8')
    for variant in variants.VARIANTS.values():
        assert variant.step.keys() <= {'flat', 'donate'}
        model.clone(**variant.model)


def test_operations_are_added_up_by_kind_and_by_name():
    profiles = importlib.import_module('profiles')
    operations = [
        ('fusion.1', 2e6),
        ('cudnn_fprop', 6e6),
        ('cudnn_fprop', 2e6),
        ('loop_convert_fusion', 1e6),
        ('fused_forward_kernel', 1e6),
    ]
    summary = profiles.add_up(operations, steps=2, longest=2)
    assert summary['milliseconds'] == 6.0
    assert summary['kernels'] == 2.5
    assert summary['kinds'] == {'convolution': 4.0, 'fusion': 1.5, 'kernel of Pallas': 0.5}
    assert [op['name'] for op in summary['operations']] == ['cudnn_fprop', 'fusion.1']
    assert '| convolution | 4.00 | 66.7% |' in profiles.to_markdown(summary)
