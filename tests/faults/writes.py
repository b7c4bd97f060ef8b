"""Fails what a run does to its files, one operation after the other, and looks at what is left.

A small network is trained on the digits while an operation of Python on its work directory fails:
a file is opened to be written, renamed, removed or synchronized, or a folder is made. Either that
one fails, as on a bad sector (EIO), or it and all that follow, as on a full disk (ENOSPC). What
TensorStore writes by itself, the arrays, does not fail here; `tests.faults.test_workdir` has a full
disk for these. The run has to end with a status that is documented and an error in words, and the
same command has to end afterwards, bit for bit as a run that nothing failed for.
"""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from snnjax.errors import run_command
from snnjax.train.config import default_config
from snnjax.train.loop import train
from tests.processes import exit_status
from tests.runs import TINY, assert_same_outcome, outcome

_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(['tests.faults.writes'])

_CHANGES = ('os.rename', 'os.mkdir', 'os.remove', 'os.rmdir', 'os.truncate')
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclasses.dataclass
class Tally:
    """What the failures met.

    Attributes:
      operations: of a run that nothing fails for.
      statuses: how often runs ended with each status, by the name of the error.
    """

    operations: int = 0
    statuses: dict[str, Counter[int]] = dataclasses.field(default_factory=dict)


def fail_each(folder: Path, points: Sequence[int] | None = None, every: int = 1) -> Tally:
    """Fails operations of runs in a folder, an empty one; AssertionError where one loses anything.

    Args:
      folder: of the runs.
      points: numbers of the operations that fail, from 1 on, in a run each; None for all.
      every: of all of them, only every so many.
    """
    whole = folder / 'whole'
    assert _run(whole, 0) == 0, _output(whole)
    expected = outcome(whole)
    tally = Tally(int(_output(whole).rsplit('operations: ', 1)[1]))
    for error in ('ENOSPC', 'EIO'):
        tally.statuses[error] = Counter()
        for point in points or range(1, tally.operations + 1, every):
            workdir = folder / f'{error}{point}'
            status = _run(workdir, point, getattr(errno, error))
            said = _output(workdir)
            assert status in (0, 1, 2), (error, point, said)
            # Orbax may have printed what its threads met before.
            assert status == 0 or '\nerror: ' in f'\n{said}', (error, point, said)
            tally.statuses[error][status] += 1
            assert _run(workdir) == 0, (error, point, _output(workdir))
            assert_same_outcome(outcome(workdir), expected)
    return tally


def _run(workdir: Path, point: int | None = None, number: int = 0) -> int | None:
    """Trains in a process of its own; returns its exit status."""
    process = _PROCESSES.Process(target=_train, args=(workdir, point, number))
    process.start()
    return exit_status(process)


def _train(workdir: Path, point: int | None, number: int) -> None:
    log = os.open(f'{workdir}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    jax.config.update('jax_platforms', 'cpu')
    config = default_config()
    config.update_from_flattened_dict(
        {
            **TINY,
            'data.name': 'digits',
            'batch_size': 240,
            'eval_batch_size': 360,
            'epochs': 2,
            'log_every': 1,
            'checkpoint.every_steps': 3,
        }
    )
    disk = None if point is None else _Disk(workdir, point, number)
    status = run_command(lambda: 0 if train(config, workdir).finished else 75)
    if disk:
        print(f'operations: {disk.operations}', flush=True)
    os._exit(status)


class _Disk:
    """Fails operations on what is in a folder, and the folder itself, from here on.

    Args:
      folder: that fails.
      point: number of the operation that fails first, from 1 on; 0 for none.
      number: of the error. With ENOSPC all operations fail that follow, but for removals.
    """

    def __init__(self, folder: Path, point: int, number: int) -> None:
        self.operations = 0
        self._folder, self._point, self._number = str(folder), point, number
        self._fsync = os.fsync
        os.fsync = self._sync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == 'open':
            path, _, flags = arguments
            if flags & _WRITING:
                self._meet(event, path)
        elif event in _CHANGES:
            self._meet(event, arguments[0])

    def _sync(self, descriptor: int) -> None:
        self._meet('fsync', Path(f'/proc/self/fd/{descriptor}').readlink())
        self._fsync(descriptor)

    def _meet(self, event: str, path: Any) -> None:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ''
        if not f'{text}/'.startswith(f'{self._folder}/'):
            return
        self.operations += 1
        frees = event in ('os.remove', 'os.rmdir', 'os.truncate')
        follows = self._number == errno.ENOSPC and self.operations > self._point and not frees
        if self._point and (self.operations == self._point or follows):
            raise OSError(self._number, os.strerror(self._number), text)


def _output(workdir: Path) -> str:
    return Path(f'{workdir}.log').read_text()
