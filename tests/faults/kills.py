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
from snnjax.train.config import default_config
from snnjax.train.loop import train
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


def kill_at_random(folder: Path, kills: int, seed: int) -> Tally:
    """Kills runs in ``folder``, an empty one; AssertionError where one loses anything."""
    rng, tally = random.Random(seed), Tally()
    start = time.monotonic()
    assert exit_status(_start(folder / 'whole')) == 0, _output(folder / 'whole')
    # Half of it is compiling, which is done now.
    seconds = (time.monotonic() - start) / 2
    expected = outcome(folder / 'whole')
    while tally.kills < kills:
        workdir = folder / f'run{tally.runs}'
        while True:
            before = _committed(workdir)
            last = tally.kills == kills
            if not _kill(workdir, None if last else rng, seconds, tally):
                _check_start(workdir, before)
                break
            _check_start(workdir, before)
            tally.kills += 1
        assert_same_outcome(outcome(workdir), expected)
        tally.runs += 1
        shutil.rmtree(workdir)
    return tally


def _train(workdir: Path) -> None:
    """In a process of its own."""
    log = os.open(f'{workdir}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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
    sys.exit(0 if train(config, workdir).finished else 75)


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


def _start(workdir: Path) -> multiprocessing.process.BaseProcess:
    process = _PROCESSES.Process(target=_train, args=(workdir,))
    process.start()
    return process


def _kill(workdir: Path, rng: random.Random | None, seconds: float, tally: Tally) -> bool:
    """Starts the run and kills it, if there is ``rng`` to tell when; False where it ended."""
    process = _start(workdir)
    if rng is None:
        assert exit_status(process) == 0, _output(workdir)
        return False
    while_saving = rng.random() < 0.5
    if while_saving:
        _wait_for_saving(workdir, process, passed_over=rng.randrange(6))
    process.join(timeout=rng.uniform(0, 0.03 if while_saving else seconds))
    stop = rng.random() < 0.5
    process.terminate() if stop else process.kill()
    if exit_status(process) == 0:
        return False
    # Before training has begun there is nothing to be saved.
    expected = (75, -signal.SIGTERM) if stop else (-signal.SIGKILL,)
    assert process.exitcode in expected, _output(workdir)
    tally.stops += stop
    tally.saving += bool(_being_written(workdir))
    committed, reached = _committed(workdir), _reached(workdir)
    tally.starting += 'of 33 steps' not in _output(workdir)
    tally.lost = max(tally.lost, reached - committed)
    return True


def _wait_for_saving(
    workdir: Path, process: multiprocessing.process.BaseProcess, passed_over: int
) -> None:
    seen: set[str] = _being_written(workdir)
    known = len(seen)
    while process.is_alive() and len(seen) - known <= passed_over:
        seen |= _being_written(workdir)
        time.sleep(0.0005)


def _being_written(workdir: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return {p.name for p in (workdir / 'checkpoints').iterdir() if 'tmp' in p.name}
    return set()


def _committed(workdir: Path) -> int:
    steps = (workdir / 'checkpoints').glob('*')
    return max((int(path.name) for path in steps if path.name.isdigit()), default=0)


def _reached(workdir: Path) -> int:
    metrics = workdir / 'metrics.jsonl'
    steps = re.findall(r'"step": (\d+)', metrics.read_text()) if metrics.exists() else []
    return max(map(int, steps), default=0)


def _output(workdir: Path) -> str:
    return Path(f'{workdir}.log').read_text()


def _check_start(workdir: Path, committed: int) -> None:
    """A start that came so far goes on from the last complete checkpoint."""
    begin = re.search(r'(continuing at step (\d+)|starting a run) of 33 steps', _output(workdir))
    if begin:
        assert int(begin[2] or 0) == committed, _output(workdir)
