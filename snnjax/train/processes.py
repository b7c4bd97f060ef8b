"""The processes of a run: one for each host of a pod or cluster, or several on one machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import jax

from snnjax.errors import EXIT_FAILED, EXIT_INTERRUPTED, UserError, print_error
from snnjax.train.signals import SIGNALS, StoppedError


class ProcessesError(UserError, ValueError):
    """Processes that cannot connect; the message says which options to give."""


def join(coordinator: str, num_processes: int, process_id: int, from_environment: bool) -> None:
    """Joins the other processes of a run, before other uses of JAX; alone, does nothing.

    Args:
      coordinator: the address ``HOST:PORT`` of process 0, which all processes reach; '' for none.
      num_processes: the number of processes.
      process_id: the index of this process, from 0.
      from_environment: true if a Cloud TPU, GKE, Slurm or Open MPI provides these values.

    Raises:
      ProcessesError: if a value is missing, or process 0 does not answer.
    """
    if from_environment and coordinator:
        raise ProcessesError('give --distributed or --coordinator, not both')
    if not coordinator and (num_processes > 1 or process_id):
        raise ProcessesError('--num_processes and --process_id need --coordinator=HOST:PORT')
    if coordinator and not 0 <= process_id < num_processes:
        raise ProcessesError(
            f'--process_id={process_id} must be 0 to --num_processes={num_processes} less one'
        )
    if coordinator:
        _address(coordinator)
        if process_id:
            _wait_for(coordinator)
    try:
        if from_environment:
            _initialize()
        elif coordinator:
            _initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise ProcessesError(f'cannot join the other processes: {error}') from error


def _initialize(*arguments: Any) -> None:
    """Calls `jax.distributed.initialize` in a thread, so that signals are handled meanwhile."""
    errors: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(*arguments)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    # JAX installs its own handler for SIGTERM: restore ours.
    for number in SIGNALS:
        signal.signal(number, signal.getsignal(number))


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(':')
    if not (host and port.isdecimal()):
        raise ProcessesError(f'--coordinator={coordinator} must be HOST:PORT')
    return host, int(port)


def _wait_for(coordinator: str, seconds: float = 300) -> None:
    """Waits until process 0 answers; JAX itself would abort if it never does."""
    address = _address(coordinator)
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ProcessesError(
                    f'nobody answers at --coordinator={coordinator}: is process 0 started there? '
                    f'({error})'
                ) from error
        time.sleep(0.5)


def is_first() -> bool:
    """Returns whether this process is the one that writes and prints."""
    return jax.process_index() == 0


# Words in the errors of collectives if another process has died.
_LOST = (
    'Gloo',
    'UNAVAILABLE',
    'DEADLINE_EXCEEDED',
    'ABORTED',
    'Connection',
    'coordination service',
)


def is_peer_failure(error: BaseException) -> bool:
    """Returns whether an error, or one of its causes, is due to another process that died."""
    # A message of this package may contain these words in a path.
    foreign = [str(cause) for cause in causes(error) if not isinstance(cause, UserError)]
    # The server of a bucket is not a process of the run.
    foreign = [text for text in foreign if not re.search('gs://|/storage/v1/', text)]
    return any(word in text for text in foreign for word in _LOST)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, then its cause or context, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class ProcessLostError(UserError):
    """Another process of the run is gone."""

    exit_status = EXIT_INTERRUPTED
    advice = 'start all of them again to go on from the last checkpoint'


@contextlib.contextmanager
def leave_on_error() -> Iterator[None]:
    """Ends this process after an error, without waiting for the other processes of the run.

    If the run has a single process, errors propagate.
    """
    try:
        yield
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        if is_peer_failure(error):
            _end(ProcessLostError(f'another process of the run is gone: {error}'))
        _end(StoppedError() if isinstance(error, KeyboardInterrupt) else error)


def _end(error: BaseException) -> NoReturn:
    """Prints an error, and ends this process at once."""
    if isinstance(error, UserError):
        print_error(error)
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(error.exit_status if isinstance(error, UserError) else EXIT_FAILED)
