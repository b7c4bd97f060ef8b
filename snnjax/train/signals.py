"""Signals that stop a run without losing work."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from snnjax.errors import EXIT_INTERRUPTED, UserError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that ask a run to stop: from a scheduler, Ctrl-C, or a closed terminal."""


class StoppedError(UserError):
    """A run that was ended at once, by a second Ctrl-C or by a signal before training began."""

    exit_status = EXIT_INTERRUPTED
    advice = 'the same command resumes from the last checkpoint, or starts the run if there is none'

    def __init__(self) -> None:
        super().__init__('stopped by a signal')


class StopRequest:
    """Notes SIGTERM, SIGHUP and SIGINT (Ctrl-C), so that training can stop between two steps.

    A second Ctrl-C raises KeyboardInterrupt at once. Use as a context manager; it restores the
    handlers that it found. Outside the main thread, where Python handles no signals, it notes none.

    Attributes:
      requested: true once a signal has arrived.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handling = handle_signals(self._note)

    def __enter__(self) -> StopRequest:
        self._handling.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._handling.__exit__(*exception)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Gives SIGTERM, SIGHUP and SIGINT a handler while the context lasts, in the main thread."""
    in_main = threading.current_thread() is threading.main_thread()
    previous = _handle_by(handler) if in_main else {}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def end_on_signals() -> None:
    """Lets SIGTERM, SIGHUP and SIGINT end this process at once, with the status 75.

    Use this before training, when there is nothing to save. An exception would not be reliable: it
    is lost in callbacks of the garbage collector, and replaced by another during imports.
    """
    _handle_by(_end)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    stopped = StoppedError()
    # `print` is not reentrant.
    with contextlib.suppress(OSError):
        os.write(2, f'error: {stopped}\n{stopped.advice}\n'.encode())
    os._exit(EXIT_INTERRUPTED)


def ignore_signals() -> None:
    """Ignores the signals that stop a run, in a process that is about to end."""
    _handle_by(signal.SIG_IGN)


def _handle_by(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> dict[int, Any]:
    """Sets the handler of the signals; returns their previous handlers."""
    previous: dict[int, Any] = {}
    for number in SIGNALS:
        before = signal.getsignal(number)
        if (number, before) == (signal.SIGHUP, signal.SIG_IGN):
            continue  # Ignored by nohup.
        signal.signal(number, handler)
        if before is not None:  # A handler not set from Python cannot be restored.
            previous[number] = before
    return previous
