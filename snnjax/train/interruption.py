"""Stopping a run from outside without losing anything."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopRequest:
    """Notes SIGTERM and SIGINT (Ctrl-C), so that training can stop between two steps.

    A second Ctrl-C stops at once. Use as a context manager; it restores the handlers it found.

    Attributes:
      requested: whether a signal has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
