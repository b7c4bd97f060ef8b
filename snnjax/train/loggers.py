"""Where metrics go beside ``metrics.jsonl``: TensorBoard, and the services that a run names.

Each is a small class, made for a work directory. That has an id, by which a run that is continued
stays the same run for all of them. None needs a network, and none stops training: see `Forgiving`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from snnjax.errors import UserError
from snnjax.spelling import suggest
from snnjax.train.files import write_whole
from snnjax.train.progress import warn

PROJECT = 'snnjax'
_ID_FILE = 'run_id'


class LoggerError(UserError, ValueError):
    """A logger that is not known or not installed; the message says what would do."""


class Logger(Protocol):
    """What takes metrics."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step, by name."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class TensorBoard:
    """Events in ``tensorboard/``.

    They are written here and now: `tensorboardX.SummaryWriter` has a thread and a short queue for
    it; where the thread ends, as on a full disk, the queue fills up, and training waits for ever.

    Args:
      workdir: of the run.
      start_step: what is there of later steps is hidden.
    """

    def __init__(self, workdir: Path, start_step: int) -> None:
        folder = workdir / 'tensorboard'
        folder.mkdir(parents=True, exist_ok=True)
        name = f'events.out.tfevents.{time.time():.0f}.{socket.gethostname()}'
        self._file = (folder / name).open('ab', buffering=0)
        start = SessionLog(status=SessionLog.START)
        self._add(
            Event(file_version='brain.Event:2'), Event(step=start_step + 1, session_log=start)
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a scalar for each value."""
        self._add(*(Event(step=step, summary=scalar(name, v)) for name, v in values.items()))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, *events: Any) -> None:
        for event in events:
            event.wall_time = time.time()
        self._file.write(b''.join(_record(event.SerializeToString()) for event in events))


def _record(content: bytes) -> bytes:
    """Of a TFRecord file: length, its checksum, the content, its checksum."""
    length = struct.pack('<Q', len(content))
    sums = [struct.pack('<I', masked_crc32c(part)) for part in (length, content)]
    return length + sums[0] + content + sums[1]


class WeightsAndBiases:
    """A run of Weights & Biases, in ``wandb/``, to be sent with `wandb sync`.

    It is sent at once where ``WANDB_MODE`` says so, or where the user is logged in.

    Args:
      workdir: of the run.
    """

    def __init__(self, workdir: Path) -> None:
        import wandb

        mode = os.environ.get('WANDB_MODE')
        if not mode:
            mode = 'online' if wandb.login(prompt=False, verify=False) else 'offline'
        self._run = wandb.init(
            project=os.environ.get('WANDB_PROJECT', PROJECT),
            id=_run_id(workdir),
            name=workdir.absolute().name,
            dir=str(workdir),
            config=_config(workdir),
            mode=mode,
            resume='allow',
            settings=wandb.Settings(console='off'),
        )
        # Its own count of steps cannot go back, as a run does to its last checkpoint.
        self._run.define_metric('*', step_metric='step')

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        self._run.log({**values, 'step': step})

    def close(self) -> None:
        """Waits for what is being sent."""
        self._run.finish()


class MLflow:
    """A run of MLflow, in ``mlflow.db``, or where ``MLFLOW_TRACKING_URI`` says.

    Args:
      workdir: of the run.
    """

    def __init__(self, workdir: Path) -> None:
        import mlflow
        from mlflow import entities

        self._entities = entities
        database = f'sqlite:///{(workdir / "mlflow.db").absolute()}'
        self._client = mlflow.MlflowClient(os.environ.get('MLFLOW_TRACKING_URI') or database)
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        tag = f'{PROJECT}.{_ID_FILE}'
        known = self._client.search_runs([number], f'tags.`{tag}` = "{_run_id(workdir)}"')
        if known:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, status='RUNNING')
            return
        run = self._client.create_run(
            number, run_name=workdir.absolute().name, tags={tag: _run_id(workdir)}
        )
        self._run = run.info.run_id
        for key, value in _config(workdir).items():
            self._client.log_param(self._run, key, value)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, v, now, step) for name, v in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Notes that nothing runs."""
        self._client.set_terminated(self._run)


class Trackio:
    """A run of Trackio, on this machine; `trackio show` shows it.

    Args:
      workdir: of the run.
    """

    def __init__(self, workdir: Path) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(
            PROJECT,
            # It knows a run by its name only.
            name=f'{workdir.absolute().name}-{_run_id(workdir)}',
            config=_config(workdir),
            resume='allow',
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        """Waits until all is kept."""
        self._trackio.finish()


LOGGERS: dict[str, Callable[[Path], Logger]] = {
    'wandb': WeightsAndBiases,
    'mlflow': MLflow,
    'trackio': Trackio,
}
"""By name, which is that of the package and of the extra, too."""


def check_loggers(names: Iterable[str]) -> None:
    """Finds a logger that cannot be, before training begins.

    Raises:
      LoggerError: for a name that is not known, or whose package is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise LoggerError(f'unknown logger {name!r}; {suggest(name, LOGGERS)}')
        spec = importlib.util.find_spec(name)
        # A folder of this name, as these packages write them, counts as one without origin.
        if spec is None or spec.origin is None:
            raise LoggerError(f"logger {name!r} needs its package: pip install '{PROJECT}[{name}]'")


class Forgiving:
    """A logger that is switched off when it fails, with a line on stderr; training goes on.

    Args:
      name: to call it by.
      make: makes it, and may fail, too.
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


def _run_id(workdir: Path) -> str:
    """The id of a work directory, the same whenever it is asked for."""
    path = workdir / _ID_FILE
    if not path.exists():
        write_whole(path, uuid.uuid4().hex[:8] + '\n')
    return path.read_text().strip()


def _config(workdir: Path) -> dict[str, Any]:
    """The configuration of the run, ``{'model.name': ...}``."""
    from snnjax.train.config import flatten  # Which itself may ask whether a logger is there.

    path = workdir / 'config.json'
    return flatten(json.loads(path.read_text())) if path.exists() else {}
