"""Loggers for metrics, in addition to ``metrics.jsonl``: TensorBoard and further services.

Each logger is a small class, created for a work directory. The directory has an ID, by which a
resumed run stays the same run for every service. No logger needs a network connection, and none
stops training, see `Forgiving`.
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
    """A logger that is unknown or not installed; the message names the fix."""


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any]], Logger]] = {
    'wandb': WeightsAndBiases,
    'mlflow': MLflow,
    'trackio': Trackio,
}
"""Loggers by name, ``(workdir, config) -> logger``; ``config`` has keys such as ``model.name``.

A module in ``imports`` of the configuration may add your own loggers.
"""

_PACKAGES = tuple(LOGGERS)  # Each is called as its package, and as the extra that installs it.


def check_loggers(names: Iterable[str]) -> None:
    """Checks the names of loggers before training begins.

    Raises:
      LoggerError: if a name is unknown, or its package is not installed.
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
