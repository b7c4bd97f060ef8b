"""Stopping a run from outside without losing anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from snnjax.errors import EXIT_INTERRUPTED, UserError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What asks a run to stop: a scheduler, Ctrl-C, a terminal that was closed."""


class StoppedError(UserError):
    """A run that a signal has ended before training began, or a second Ctrl-C at once."""

    exit_status = EXIT_INTERRUPTED
    advice = 'the same command goes on from the last checkpoint, or begins where there is none'

    def __init__(self) -> None:
        super().__init__('stopped by a signal')


class StopRequest:
    """Notes SIGTERM, SIGHUP and SIGINT (Ctrl-C), so that training can stop between two steps.

    A second Ctrl-C raises KeyboardInterrupt at once. Use as a context manager; it restores the
    handlers that it found. Outside the main thread, where Python handles no signals, it notes none.

    Attributes:
      requested: whether a signal has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = _handle_by(self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def interrupt_on_signals() -> None:
    """Lets SIGTERM and SIGHUP raise KeyboardInterrupt, too, until they are handled otherwise."""
    _handle_by(signal.default_int_handler)


def ignore_signals() -> None:
    """Ignores what asks a run to stop, in a process that is about to end."""
    _handle_by(signal.SIG_IGN)


def _handle_by(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> dict[int, Any]:
    """Gives the signals another handler; returns those that they had."""
    previous: dict[int, Any] = {}
    for number in SIGNALS:
        before = signal.getsignal(number)
        if (number, before) == (signal.SIGHUP, signal.SIG_IGN):
            continue  # By nohup.
        signal.signal(number, handler)
        if before is not None:  # What is not Python's cannot be put back.
            previous[number] = before
    return previous
