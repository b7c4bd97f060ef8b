"""Processes that make batches end with the run that they are of, however it ends."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from snnjax.data import DataOptions
from snnjax.data.options import max_workers
from tests.conftest import ROOT

# As a script of its own: it is killed, and its workers import it again.
RUN = """
    import multiprocessing
    import time
    import numpy as np
    from snnjax.data import ArraySplit
    from snnjax.data.pipeline import TrainingBatches

    if __name__ == '__main__':
        split = ArraySplit(np.zeros((8, 2, 2, 1), np.uint8), np.zeros(8, np.int32))
        batches = TrainingBatches(split, batch_size=4, seed=0, num_batches=1000)
        iterator = batches.iterate(0, workers=2)
        for _ in range(4):
            next(iterator)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(1000)
"""
# What a machine needs that is a hundred times slower: nothing waits for it otherwise.
PATIENCE = 300


@pytest.fixture
def run(tmp_path):
    """A process whose workers have made batches, and their process ids."""
    script = tmp_path / 'run.py'
    script.write_text(textwrap.dedent(RUN))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, [int(pid) for pid in process.stdout.readline().split()]
    finally:
        # Whatever is left of it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def is_alive(pid):
    state = subprocess.run(['ps', '-o', 'stat=', '-p', str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] not in ('', 'Z')


def wait_until_gone(pids):
    deadline = time.monotonic() + PATIENCE
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f'{pids} are still there'
        time.sleep(0.1)


def test_workers_end_when_their_run_is_killed(run):
    process, workers = run
    assert len(workers) == 2
    assert all(map(is_alive, workers))
    process.kill()
    process.wait()
    wait_until_gone(workers)


def test_a_worker_that_is_told_to_end_ends(run):
    process, (first, second) = run
    os.kill(first, signal.SIGINT)  # Of the run, as Ctrl-C.
    os.kill(first, signal.SIGTERM)
    wait_until_gone([first])
    assert is_alive(second)
    assert process.poll() is None


def test_as_many_workers_as_no_machine_holds_are_refused():
    with pytest.raises(ValueError, match=r'data\.workers=100000 must be at most \d+ on this'):
        DataOptions(workers=100_000)
    assert DataOptions(workers=max_workers()).workers >= multiprocessing.cpu_count()
