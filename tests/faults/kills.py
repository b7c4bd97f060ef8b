"""Kills a run again and again, at random moments, and looks at what is left.

A small network is trained on the digits, with a checkpoint at every second step and numbers in some
steps that are not finite, for which it rolls back, and killed (SIGKILL) or stopped (SIGTERM): half
of the times anywhere between its start and its end, half of them while a checkpoint is being
written. Whenever it starts again it has to go on from the last checkpoint that was
complete, and when it comes to its end, everything but times has to be bit for bit that of a run
that was never killed. A run that was finished is followed by a new one, until there have been as
many kills as are asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from snnjax.data.pipeline import TrainingBatches
from snnjax.paths import expand, in_bucket
from snnjax.train.config import default_config
from snnjax.train.loop import train
from tests.bucket_server import download
from tests.processes import exit_status
from tests.runs import TINY, assert_same_outcome, outcome

# What is preloaded has begun no computation when it is forked.
warnings.filterwarnings('ignore', message=r'os\.fork\(\)')
_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(['tests.faults.kills'])


# Of 33. The second falls back to the same checkpoint as the first.
FAULTY_STEPS = (7, 8, 20)


@dataclasses.dataclass
class Tally:
    """What the kills met.

    Attributes:
      kills: how many, stops among them.
      stops: by SIGTERM.
      starting: before the first checkpoint of a start; its steps are lost.
      saving: while a checkpoint was written.
      runs: that came to their end.
      lost: steps between a kill and the checkpoint gone on from, at most, as the metrics tell.
    """

    kills: int = 0
    stops: int = 0
    starting: int = 0
    saving: int = 0
    runs: int = 0
    lost: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is killed.

    Attributes:
      workdir: its work directory, also in a bucket.
      log: the file for what it prints.
    """

    workdir: Path
    log: Path


def kill_at_random(folder: Path, kills: int, seed: int, bucket: str = '') -> Tally:
    """Kills runs again and again; raises AssertionError if one loses anything.

    Args:
      folder: an empty folder.
      kills: the number of kills.
      seed: the seed of their moments.
      bucket: a URL for the work directories; '' for folders in ``folder``.
    """
    rng, tally = random.Random(seed), Tally()
    start = time.monotonic()
    whole = Run(folder / 'whole', folder / 'whole.log')
    assert exit_status(_start(whole)) == 0, _output(whole)
    # Half of it is compiling, which is done now.
    seconds = (time.monotonic() - start) / 2
    expected = outcome(whole.workdir)
    while tally.kills < kills:
        name = f'run{tally.runs}'
        run = Run(expand(f'{bucket}/{name}') if bucket else folder / name, folder / f'{name}.log')
        while True:
            before = _committed(run)
            last = tally.kills == kills
            if not _kill(run, None if last else rng, seconds, tally):
                _check_start(run, before)
                break
            _check_start(run, before)
            tally.kills += 1
        if bucket:
            download(run.workdir, folder / name)
        assert_same_outcome(outcome(folder / name), expected)
        tally.runs += 1
        shutil.rmtree(folder / name)
    return tally


def _train(run: Run) -> None:
    """In a process of its own."""
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    jax.config.update('jax_platforms', 'cpu')
    _spoil_batches()
    config = default_config()
    config.update_from_flattened_dict(
        {
            **TINY,
            'data.name': 'digits',
            'batch_size': 120,
            'eval_batch_size': 360,
            'epochs': 3,
            'log_every': 1,
            'checkpoint.every_steps': 2,
            'on_non_finite': 'rollback',
        }
    )
    sys.exit(0 if train(config, run.workdir).finished else 75)


def _spoil_batches() -> None:
    """Puts a number that is none into the images of some steps."""
    iterate = TrainingBatches.iterate

    def spoilt(self: TrainingBatches, start: int, workers: int = 0) -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(iterate(self, start, workers), start=start + 1):
            images = batch['image'].astype(np.float32)
            if step in FAULTY_STEPS:
                images[3, 0, 0] = np.nan
            yield batch | {'image': images}

    TrainingBatches.iterate = spoilt  # type: ignore[method-assign]


def _start(run: Run) -> multiprocessing.process.BaseProcess:
    process = _PROCESSES.Process(target=_train, args=(run,))
    process.start()
    return process


def _kill(run: Run, rng: random.Random | None, seconds: float, tally: Tally) -> bool:
    """Starts the run and kills it, if there is ``rng`` to tell when; False where it ended."""
    process = _start(run)
    if rng is None:
        assert exit_status(process) == 0, _output(run)
        return False
    while_saving = rng.random() < 0.5
    if while_saving:
        _wait_for_saving(run, process, passed_over=rng.randrange(6))
    process.join(timeout=rng.uniform(0, 0.03 if while_saving else seconds))
    stop = rng.random() < 0.5
    process.terminate() if stop else process.kill()
    if exit_status(process) == 0:
        return False
    # Before training has begun there is nothing to be saved.
    expected = (75, -signal.SIGTERM) if stop else (-signal.SIGKILL,)
    assert process.exitcode in expected, _output(run)
    tally.stops += stop
    tally.saving += bool(_being_written(run))
    committed, reached = _committed(run), _reached(run)
    tally.starting += 'of 33 steps' not in _output(run)
    tally.lost = max(tally.lost, reached - committed)
    return True


def _wait_for_saving(
    run: Run, process: multiprocessing.process.BaseProcess, passed_over: int
) -> None:
    seen: set[str] = _being_written(run)
    known = len(seen)
    while process.is_alive() and len(seen) - known <= passed_over:
        seen |= _being_written(run)
        time.sleep(0.0005)


def _being_written(run: Run) -> set[str]:
    complete = _complete(run)
    return {path.name for path in _checkpoints(run) if path.name not in complete}


def _committed(run: Run) -> int:
    return max(map(int, _complete(run)), default=0)


def _complete(run: Run) -> set[str]:
    found = [path for path in _checkpoints(run) if path.name.isdigit()]
    if in_bucket(run.workdir):
        found = [path for path in found if (path / 'commit_success.txt').exists()]
    return {path.name for path in found}


def _checkpoints(run: Run) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return list((run.workdir / 'checkpoints').iterdir())
    return []


def _reached(run: Run) -> int:
    metrics = run.workdir / 'metrics.jsonl'
    steps = re.findall(r'"step": (\d+)', metrics.read_text()) if metrics.exists() else []
    return max(map(int, steps), default=0)


def _output(run: Run) -> str:
    return run.log.read_text()


def _check_start(run: Run, committed: int) -> None:
    """A start that came so far goes on from the last complete checkpoint."""
    begin = re.search(r'(continuing at step (\d+)|starting a run) of 33 steps', _output(run))
    if begin:
        assert int(begin[2] or 0) == committed, _output(run)
