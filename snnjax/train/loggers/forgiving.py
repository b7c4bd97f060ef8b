"""A logger that may fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from snnjax.train.progress import warn


class Logger(Protocol):
    """A receiver of metrics."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step, by name."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class Forgiving:
    """A logger that is switched off when it fails, with a line on stderr; training goes on.

    Args:
      name: the name of the logger, for messages.
      make: a function that creates the logger, and may also fail.
    """

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        self._name = name
        self._logger: Logger | None = None
        self._logger = self._attempt(make)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step, by name."""
        if self._logger:
            self._attempt(self._logger.write, step, values)

    def close(self) -> None:
        """Lets go of everything."""
        if self._logger:
            self._attempt(self._logger.close)

    def _attempt(self, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except Exception as error:
            logger, self._logger = self._logger, None
            what = f'{type(error).__name__}: {error}'
            warn(f'warning: {self._name} is switched off, training goes on: {what}')
            if logger and action != logger.close:
                with contextlib.suppress(Exception):
                    logger.close()
            return None
