"""Training on photos: what cannot be decoded, and worker processes."""

import io
import multiprocessing
import os
import signal
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from snnjax import known
from snnjax.analysis.trained import data_as_trained
from snnjax.data import DataOptions, DecodeError, WorkerLostError
from snnjax.tools.prepare import main as prepare
from snnjax.train.loop import train
from snnjax.train.metric_writer import read_metrics
from tests import processes
from tests.conftest import ROOT
from tests.runs import TINY_ON_DIGITS, outcome


def photo(number):
    rng = np.random.default_rng(number)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(stream, 'PNG')
    return stream.getvalue()


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """Thirty training and ten test photos; two and one of them are broken."""
    folder = tmp_path_factory.mktemp('photos')
    for split, count in (('train', 30), ('val', 10)):
        for i in range(count):
            path = folder / 'source' / split / 'ab'[i % 2] / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            broken = i in ((3, 17) if split == 'train' else (5,))
            path.write_bytes(photo(i)[: 60 if broken else None])
    command = ['folder', '--name=mine', f'--source={folder / "source"}', f'--data_dir={folder}']
    assert prepare(command) == 0
    return folder


@pytest.fixture
def config(config, data_dir):
    config.data.name = 'mine'
    config.data.dir = str(data_dir)
    config.data.image_size = 16
    config.data.on_decode_error = 'skip'
    config.model.num_steps = 1
    config.eval_batch_size = 16
    config.log_every = 3
    return config


def test_a_photo_that_cannot_be_decoded_ends_the_run(config, tmp_path):
    config.data.on_decode_error = 'raise'
    with pytest.raises(DecodeError, match=r'/\d+\.png: cannot be decoded'):
        train(config, tmp_path)


def test_photos_that_cannot_be_decoded_are_left_out_and_counted(config, tmp_path):
    config.epochs = 2
    assert train(config, tmp_path).finished
    # One's own training: what opens the run follows its folder unasked.
    assert known.is_known_folder(config.data.dir, DataOptions.dir)
    assert data_as_trained(str(tmp_path), {})['dir'] == config.data.dir
    records = read_metrics(tmp_path)
    evaluations = [record for record in records if 'eval/loss' in record]
    assert [record['eval/skipped'] for record in evaluations] == [1] * 2
    assert np.isfinite([record['eval/loss'] for record in evaluations]).all()


@pytest.mark.parametrize('limit', [0, 2])
def test_too_many_of_them_end_the_run(config, tmp_path, limit):
    config.epochs = 4
    config.data.max_skipped = limit
    with pytest.raises(DecodeError, match=f'more than data.max_skipped={limit}'):
        train(config, tmp_path)


def test_a_worker_that_is_killed_ends_the_run_in_good_order(config, tmp_path):
    config.data.workers = 1
    config.epochs = 100
    config.checkpoint.every_steps = 1
    killed, ended = [], threading.Event()

    def kill_workers():
        while not list((tmp_path / 'checkpoints').glob('[0-9]*')):
            if ended.wait(0.01):
                return
        for process in multiprocessing.active_children():
            killed.append(process.pid)
            process.kill()

    killer = threading.Thread(target=kill_workers)
    killer.start()
    try:
        with pytest.raises(WorkerLostError, match=r'process that reads the data .* exit code -9'):
            train(config, tmp_path)
    finally:
        ended.set()
        killer.join()
    assert killed
    step, state, *_ = outcome(tmp_path)
    assert state['step'] == step > 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_its_processes_saves_a_run_with_workers(data_dir, tmp_path, number):
    """As Ctrl-C in a terminal, or a cluster's scheduler, sends it."""
    command = [
        *(sys.executable, '-m', 'snnjax.main', f'--workdir={tmp_path}'),
        '--config=configs/imagenette.py:name=mine,image_size=16,num_steps=1',
        f'--config.data.dir={data_dir}',
        '--config.data.workers=1',
        '--config.data.on_decode_error=skip',
        '--config.data.max_skipped=100000',
        *TINY_ON_DIGITS[1:],
        '--config.epochs=100000',
        '--config.eval_every_epochs=100000',
        '--config.batch_size=4',
        '--config.log_every=1',
    ]
    with processes.started(command, cwd=ROOT) as process:
        processes.wait_until(lambda: len(read_metrics(tmp_path)) > 3, process)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=processes.HANG)
    assert process.returncode == 75, err
    assert 'stopped and saved' in out
    assert list((tmp_path / 'checkpoints').glob('[0-9]*'))
