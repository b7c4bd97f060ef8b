"""Runs commands of the package in forks of a process that has imported it, which is quick."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from tests.processes import HANG

# What is preloaded has begun no computation when it is forked.
warnings.filterwarnings('ignore', message=r'os\.fork\(\)')
_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(
    [
        'tests.faults.commands',
        'tests.faults.kills',
        'snnjax.analysis.inference',
        'snnjax.main',
        'snnjax.train.description',
        'snnjax.tools.evaluate',
        'snnjax.tools.import_torch',
        'snnjax.tools.prepare',
        'snnjax.weights.torch_file',
        'snnjax.weights.torch_state',
    ]
)


class Result(NamedTuple):
    """What a command gave."""

    status: int | None
    stdout: str
    stderr: str


def run_command(module: str, arguments: list[str], cwd: Path, stdout: str = '') -> Result:
    """``python -m MODULE ARGUMENTS`` in a folder.

    Args:
      module: of the command.
      arguments: of the command.
      cwd: the folder, in which there is then a file ``stderr``, and ``stdout``.
      stdout: another file that is printed to, or 'closed pipe' for what nobody reads.
    """
    (cwd / 'stdout').touch()
    process = _PROCESSES.Process(target=_run, args=(module, arguments, cwd, stdout))
    process.start()
    try:
        process.join(timeout=HANG)
    finally:
        # With what it has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return Result(process.exitcode, *((cwd / name).read_text() for name in ('stdout', 'stderr')))


def _run(module: str, arguments: list[str], cwd: Path, stdout: str) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ['HOME'] = str(cwd)
    for number, name in ((1, 'stdout'), (2, 'stderr')):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if stdout:
        os.dup2(_closed_pipe() if stdout == 'closed pipe' else os.open(stdout, os.O_WRONLY), 1)
        sys.stdout = open(1, 'w', closefd=False)  # noqa: SIM115
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(cwd))  # As `python -m` does.
    sys.exit(importlib.import_module(module).main(arguments))


def _closed_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write
