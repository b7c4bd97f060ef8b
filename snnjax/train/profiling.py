"""Profiler traces of selected training steps."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from snnjax.errors import ConfigError
from snnjax.paths import in_bucket

FOLDER = 'profile'
"""The folder of a work directory that traces are in."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Holds the range of steps that are traced.

    Attributes:
      first: the first traced step of the run; the run starts with step 1.
      last: the last traced step.
    """

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Reads ``FIRST:LAST``.

        Raises:
          ConfigError: if the text has another form or the range is empty.
        """
        match = re.fullmatch(r'(\d{1,10}):(\d{1,10})', text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(
                f'--profile={text} must be the first and the last step to trace, as 101:110'
            )
        return cls(int(match[1]), int(match[2]))


class Profiler:
    """Traces the steps of a window, in the formats of Perfetto and TensorBoard.

    Args:
      window: the steps to trace, or None for no trace.
      workdir: the work directory of the run; the trace goes to its folder ``profile``.
    """

    def __init__(self, window: Window | None, workdir: Path) -> None:
        self._window = window
        self._folder = workdir / FOLDER
        # The profiler writes only to a file system.
        self._local: tempfile.TemporaryDirectory | None = None
        self._running = False

    def stops_after(self, step: int, first_step: int) -> list[int]:
        """Returns the steps of a phase after ``step`` at which the trace begins or ends.

        Args:
          step: a step, counted from the start of the phase.
          first_step: the number of steps of the run before the phase.
        """
        if self._window is None:
            return []
        stops = (self._window.first - 1 - first_step, self._window.last - first_step)
        return [stop for stop in stops if stop > step]

    def at(self, step: int, state: Any) -> str:
        """Starts or stops the trace if a step is at an edge of the window.

        Args:
          step: a step of the run.
          state: the training state after that step. It is waited for first, so that the trace
            contains exactly the steps of the window.

        Returns:
          A message for the user, or ''.
        """
        window = self._window
        if window and not self._running and window.first - 1 <= step < window.last:
            jax.block_until_ready(state)
            self._local = tempfile.TemporaryDirectory() if in_bucket(self._folder) else None
            folder = self._local.name if self._local else self._folder
            jax.profiler.start_trace(folder, create_perfetto_trace=True)
            self._running = True
        elif window and self._running and step >= window.last:
            jax.block_until_ready(state)
            return self.end()
        return ''

    def end(self) -> str:
        """Stops a running trace; returns a message for the user, or ''."""
        if not self._running:
            return ''
        self._running = False
        jax.profiler.stop_trace()
        if self._local:
            try:
                with self._local as local:
                    for path in Path(local).rglob('*'):
                        if path.is_file():
                            (self._folder / path.relative_to(local)).write_bytes(path.read_bytes())
            except OSError as error:
                return f'the trace cannot be written to {self._folder}: {error.strerror}'
        return f'trace: {self._folder}; open its perfetto_trace.json.gz on ui.perfetto.dev'

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        """Stops a running trace when the context ends, also by an error."""
        try:
            yield
        finally:
            self.end()
