"""Processes that tests start: each in a group of its own, of which nothing outlives its test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

# Seconds after which a test takes a process for hung. No test is about how fast a process is: the
# slowest takes a minute on two quiet cores.
HANG = 1800


@contextlib.contextmanager
def started(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen]:
    """Starts a process, whose output is captured as text; kills its group when the context ends.

    Args:
      command: program and arguments.
      **options: of `subprocess.Popen`, in the place of those chosen here.
    """
    captured = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    with subprocess.Popen(command, **captured | options, start_new_session=True) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run(command: Sequence[Any], *, stdin: str = '', **options: Any) -> subprocess.CompletedProcess:
    """Runs a command to its end, with a text for its input; returns what `subprocess.run` does."""
    with started(command, stdin=subprocess.PIPE, **options) as process:
        out, err = process.communicate(stdin, timeout=HANG)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def wait_until(holds: Callable[[], Any], *processes: subprocess.Popen) -> None:
    """Waits for something that processes bring about; fails when one of them ends before it."""
    deadline = time.monotonic() + HANG
    while not holds():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def exit_status(process: BaseProcess) -> int | None:
    """Waits for a process of `multiprocessing`, and returns how it ended; none is left behind."""
    try:
        process.join(timeout=HANG)
    finally:
        process.kill()
        process.join()
    return process.exitcode
