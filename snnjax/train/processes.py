"""The processes of a run: one for each host of a pod or cluster, or several on one machine."""

from __future__ import annotations

import contextlib
import os
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
    """Processes that cannot find each other; the message says what to give."""


def join(coordinator: str, num_processes: int, process_id: int, from_environment: bool) -> None:
    """Joins the other processes of a run, before anything else of JAX is used; alone, does nothing.

    Args:
      coordinator: ``HOST:PORT`` of the process 0, reached by all; '' for none.
      num_processes: how many there are.
      process_id: which one this is, from 0.
      from_environment: whether a Cloud TPU, GKE, Slurm or Open MPI has set all that.

    Raises:
      ProcessesError: where some of it is missing, or nobody answers.
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
    """Calls `jax.distributed.initialize` so that signals are answered while it waits."""
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
    # JAX has a handler of its own for SIGTERM.
    for number in SIGNALS:
        signal.signal(number, signal.getsignal(number))


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(':')
    if not (host and port.isdecimal()):
        raise ProcessesError(f'--coordinator={coordinator} must be HOST:PORT')
    return host, int(port)


def _wait_for(coordinator: str, seconds: float = 300) -> None:
    """Until process 0 is there; JAX itself would abort where it never comes."""
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
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


# What there is in the errors of collectives whose other ends are gone.
_LOST = (
    'Gloo',
    'UNAVAILABLE',
    'DEADLINE_EXCEEDED',
    'ABORTED',
    'Connection',
    'coordination service',
)


def is_peer_failure(error: BaseException) -> bool:
    """Returns whether an error comes of another process that is gone, also through others."""
    # What this package says itself may have such words in a path.
    foreign = [str(cause) for cause in causes(error) if not isinstance(cause, UserError)]
    return any(word in text for text in foreign for word in _LOST)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, the one that it was raised from or while handling, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class ProcessLostError(UserError):
    """Another process of the run is gone."""

    exit_status = EXIT_INTERRUPTED
    advice = 'start all of them again to go on from the last checkpoint'


@contextlib.contextmanager
def leave_on_error() -> Iterator[None]:
    """Ends this process after an error, in a run of several without waiting for the others.

    Alone, it lets every error pass.
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
    """Ends this process at once, with what there is to say of an error."""
    if isinstance(error, UserError):
        print_error(error)
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(error.exit_status if isinstance(error, UserError) else EXIT_FAILED)
