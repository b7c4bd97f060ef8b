"""Runs commands of the package in forks of a process that has imported it, which is quick."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import snnjax.main
import snnjax.tools.evaluate
import snnjax.tools.import_torch
import snnjax.tools.prepare
from snnjax.train.config_flag import run

# What is preloaded has begun no computation when it is forked.
warnings.filterwarnings('ignore', message=r'os\.fork\(\)')
_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(['tests.faults.commands', 'tests.faults.kills'])


class Result(NamedTuple):
    """What a command gave."""

    status: int | None
    stdout: str
    stderr: str


def run_command(module: str, arguments: list[str], cwd: Path) -> Result:
    """``python -m MODULE ARGUMENTS`` in a folder."""
    process = _PROCESSES.Process(target=_run, args=(module, arguments, cwd))
    process.start()
    process.join(timeout=1800)
    process.kill()
    process.join()
    return Result(process.exitcode, *((cwd / name).read_text() for name in ('stdout', 'stderr')))


def _run(module: str, arguments: list[str], cwd: Path) -> None:
    os.chdir(cwd)
    os.environ['HOME'] = str(cwd)
    for number, name in ((1, 'stdout'), (2, 'stderr')):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [module, *arguments]
    if module == 'snnjax.main':
        run(snnjax.main.main, required=('config',), usage='')
    sys.exit(importlib.import_module(module).main(arguments))
