"""Where metrics go beside ``metrics.jsonl``: TensorBoard, and the services that a run names.

Each is a small class, made for a work directory. That has an id, by which a run that is continued
stays the same run for all of them. None needs a network, and none stops training: see `Forgiving`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snnjax.errors import UserError
from snnjax.spelling import did_you_mean
from snnjax.train.loggers.forgiving import Forgiving, Logger
from snnjax.train.loggers.mlflow import MLflow
from snnjax.train.loggers.run_id import PROJECT
from snnjax.train.loggers.tensorboard import TensorBoard
from snnjax.train.loggers.trackio import Trackio
from snnjax.train.loggers.wandb import WeightsAndBiases

__all__ = ['LOGGERS', 'Forgiving', 'Logger', 'LoggerError', 'TensorBoard', 'check_loggers']


class LoggerError(UserError, ValueError):
    """A logger that is not known or not installed; the message says what would do."""


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any]], Logger]] = {
    'wandb': WeightsAndBiases,
    'mlflow': MLflow,
    'trackio': Trackio,
}
"""Loggers by name, ``(workdir, config) -> logger``; ``config`` has keys such as ``model.name``.

One of your own may be added by a module that the configuration names in ``imports``.
"""

_PACKAGES = tuple(LOGGERS)  # Each is called as its package, and as the extra that installs it.


def check_loggers(names: Iterable[str]) -> None:
    """Finds a logger that cannot be, before training begins.

    Raises:
      LoggerError: for a name that is not known, or whose package is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise LoggerError(f'unknown logger {name!r}; {did_you_mean(name, LOGGERS)}')
        if name not in _PACKAGES:
            continue
        spec = importlib.util.find_spec(name)
        # A folder of this name, as these packages write them, counts as one without origin.
        if spec is None or spec.origin is None:
            raise LoggerError(f"logger {name!r} needs its package: pip install '{PROJECT}[{name}]'")
