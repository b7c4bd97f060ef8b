"""What is left when the power goes: files and names that were synchronized with the disk."""

import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.files import append_line, write_whole
from snnjax.train.checkpoints import Checkpoints
from snnjax.train.state import TrainState


class Disk:
    """Notes what `os.fsync` has brought to the disk: of files their content, of folders the names.

    What TensorStore synchronizes by itself goes past it.
    """

    def __init__(self, monkeypatch):
        self._synced = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, 'fsync', self._note)

    def _note(self, descriptor):
        self._fsync(descriptor)
        path = Path(f'/proc/self/fd/{descriptor}').readlink()
        found = path.stat()
        if path.is_dir():
            self._synced[found.st_ino] = {p.name: p.stat().st_ino for p in path.iterdir()}
        else:
            self._synced[found.st_ino] = (found.st_size, found.st_mtime_ns)

    def lose_power(self, folder, copy):
        """Copies a folder as a machine would find it that starts again now."""
        copy.mkdir()
        names = self._synced.get(folder.stat().st_ino, {})
        for path in folder.iterdir():
            found = path.stat()
            if names.get(path.name) != found.st_ino:
                continue
            if path.is_dir():
                self.lose_power(path, copy / path.name)
            elif self._synced.get(found.st_ino) == (found.st_size, found.st_mtime_ns):
                shutil.copy(path, copy / path.name)
            else:
                (copy / path.name).write_text('')


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def state():
    kernel = np.arange(2000.0, dtype=np.float32).reshape(40, 50)
    params = {'layer': {'kernel': jnp.asarray(kernel)}}
    return TrainState(jnp.int32(0), params, {'layer': {'mean': jnp.ones(3)}}, ())


def test_a_checkpoint_outlasts_a_power_loss_before_the_one_before_is_removed(
    disk, state, tmp_path, monkeypatch
):
    directory, metrics = tmp_path / 'checkpoints', tmp_path / 'metrics.jsonl'
    left = []
    rmtree = shutil.rmtree

    def remove(path):
        disk.lose_power(directory, copy := tmp_path / f'left{len(left)}')
        left.append(copy)
        assert disk._synced[metrics.stat().st_ino][0] == metrics.stat().st_size
        rmtree(path)

    monkeypatch.setattr(shutil, 'rmtree', remove)
    with Checkpoints(directory, keep=1, beside=[metrics]) as checkpoints:
        for step in (1, 2, 3):
            with metrics.open('a') as file:
                file.write(f'{{"step": {step}}}\n')
            checkpoints.save(step, state, {'step': step}, {'eval/accuracy': 0.1 * step})
    disk.lose_power(directory, copy := tmp_path / 'at the end')
    assert len(left) == 2
    for step, folder in zip((2, 3, 3), [*left, copy], strict=True):
        with Checkpoints(folder, keep=1) as checkpoints:
            newest = checkpoints.restore_newest(lambda step: state)
        assert newest.step == step
        assert newest.position == {'step': step}
        np.testing.assert_array_equal(
            newest.state.params['layer']['kernel'], state.params['layer']['kernel']
        )
        files = [path for path in (folder / str(step)).rglob('*') if path.is_file()]
        assert all(path.stat().st_size for path in files)


def test_files_of_a_run_outlast_a_power_loss(disk, tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    write_whole(run / 'config.json', 'first')
    write_whole(run / 'config.json', 'second')
    append_line(run / 'environment.jsonl', '{}')
    (run / 'unsynchronized').write_text('gone')
    disk.lose_power(run, copy := tmp_path / 'copy')
    assert (copy / 'config.json').read_text() == 'second'
    assert (copy / 'environment.jsonl').read_text() == '{}\n'
    assert not (copy / 'unsynchronized').exists()
