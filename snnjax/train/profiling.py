"""A trace of some steps of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from snnjax.errors import ConfigError

FOLDER = 'profile'
"""The folder of a work directory that traces are in."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Steps of a run that are traced.

    Attributes:
      first: the first of them, from 1 on.
      last: the last of them.
    """

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Reads ``FIRST:LAST``.

        Raises:
          ConfigError: for anything else.
        """
        match = re.fullmatch(r'(\d{1,10}):(\d{1,10})', text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(
                f'--profile={text} must be the first and the last step to trace, as 101:110'
            )
        return cls(int(match[1]), int(match[2]))


class Profiler:
    """Writes a trace of the steps of a window, that Perfetto and TensorBoard open.

    Args:
      window: the steps; None for no trace.
      workdir: gets the folder ``profile``.
    """

    def __init__(self, window: Window | None, workdir: Path) -> None:
        self._window = window
        self._folder = workdir / FOLDER
        self._running = False

    def stops_after(self, step: int, first_step: int) -> list[int]:
        """Returns the steps of a phase after ``step`` at which the trace begins or ends.

        Args:
          step: of the phase.
          first_step: steps of the run before the phase.
        """
        if self._window is None:
            return []
        stops = (self._window.first - 1 - first_step, self._window.last - first_step)
        return [stop for stop in stops if stop > step]

    def at(self, step: int, state: Any) -> str:
        """Begins or ends the trace, if that is due at a step.

        Args:
          step: of the run.
          state: after that step; it is waited for, so that the trace has its steps and no others.

        Returns:
          What there is to say about it; mostly ''.
        """
        window = self._window
        if window and not self._running and window.first - 1 <= step < window.last:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._running = True
        elif window and self._running and step >= window.last:
            jax.block_until_ready(state)
            return self.end()
        return ''

    def end(self) -> str:
        """Ends the trace if one is being made, with what has been computed; returns what to say."""
        if not self._running:
            return ''
        self._running = False
        jax.profiler.stop_trace()
        return f'trace: {self._folder}; open its perfetto_trace.json.gz on ui.perfetto.dev'

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        """Ends a trace that is being made when the context ends, however it does."""
        try:
            yield
        finally:
            self.end()
