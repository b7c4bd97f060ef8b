"""What a run leaves in its work directory to be read: metrics, configuration, environment."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections

from snnjax.train.config import (
    RUNTIME_KEYS,
    START_KEYS,
    ConfigError,
    default_config,
    differences,
)
from snnjax.train.files import WorkdirError, append_line, write_whole
from snnjax.train.loggers import LOGGERS, Forgiving, Logger, TensorBoard, check_loggers
from snnjax.train.progress import warn
from snnjax.train.weights import WeightsError, checkpoint_steps, describe_weights
from snnjax.version import __version__

METRICS_FILE = 'metrics.jsonl'


class MetricWriter:
    """Writes metrics to ``metrics.jsonl``, as TensorBoard events, and to further loggers.

    Nothing of it stops training. A logger that fails is switched off. Lines of ``metrics.jsonl``
    that cannot be written, since the disk is full, are kept, and written with the next ones.

    Args:
      workdir: of the run; has ``config.json`` where loggers are to have it, too.
      start_step: where the run begins or continues. What is there of later steps is dropped: they
        are about to be taken again.
      enabled: False to write nothing, in processes that leave it to another.
      also: names of further loggers, keys of `snnjax.train.loggers.LOGGERS`.

    Raises:
      LoggerError: for a logger that is not known or not installed.
      WorkdirError: if ``metrics.jsonl`` cannot be written when the run starts.
    """

    def __init__(
        self, workdir: Path, start_step: int, *, enabled: bool = True, also: Iterable[str] = ()
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return
        check_loggers(also)
        kept = [record for record in read_metrics(workdir) if record['step'] <= start_step]
        path = workdir / METRICS_FILE
        try:
            write_whole(path, ''.join(json.dumps(record) + '\n' for record in kept))
            self._lines = _Lines(path)
        except OSError as error:
            raise WorkdirError(f'{path} cannot be written: {error.strerror}') from error
        makers: dict[str, Callable[[Path], Logger]] = {
            'TensorBoard': functools.partial(TensorBoard, start_step=start_step),
            **{name: LOGGERS[name] for name in also},
        }
        self._loggers = [
            Forgiving(name, functools.partial(make, workdir)) for name, make in makers.items()
        ]

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._enabled:
            return
        self._lines.close()
        for logger in self._loggers:
            logger.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics; it has left this process when the call returns."""
        if not self._enabled:
            return
        self._lines.write(json.dumps({'step': step, **values}))
        for logger in self._loggers:
            logger.write(step, values)


class _Lines:
    """A file that lines are added to, whole or not at all, and that is made anew if it is gone.

    Args:
      path: of a file that is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open('r+b', buffering=0)
        # Of the file, up to its last whole line, and what could not be written after it.
        self._end = self._file.seek(0, os.SEEK_END)
        self._kept = b''

    def write(self, line: str) -> None:
        """Adds a line, and those that could not be written before."""
        failed_before = bool(self._kept)
        self._kept += line.encode() + b'\n'
        error = self._write_kept()
        if error and not failed_before:
            warn(f'warning: cannot write {self._path}: {error}; training goes on, lines are kept')
        if failed_before and not error:
            warn(f'{self._path} is written again, no line is missing')

    def close(self) -> None:
        """Tries to write what is kept for a last time, or else prints it."""
        if self._kept and (error := self._write_kept()):
            warn(f'warning: cannot write {self._path}: {error}; it lacks these lines:')
            warn(self._kept.decode().rstrip())
        self._file.close()

    def _write_kept(self) -> OSError | None:
        written = 0
        try:
            self._open_again_if_gone()
            while written < len(self._kept):
                # A full disk may take a part.
                place = self._end + written
                written += os.pwrite(self._file.fileno(), self._kept[written:], place)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            return error
        self._end, self._kept = self._end + written, b''
        return None

    def _open_again_if_gone(self) -> None:
        """Keeps all lines to be written again, to a new file, if the file was removed."""
        # Of a folder that was moved the file is still the right one.
        if self._path.exists() or not self._path.parent.exists():
            return
        # What was removed can be read as long as it is open.
        before = os.pread(self._file.fileno(), self._end, 0)
        file = self._path.open('x+b', buffering=0)
        self._file.close()
        self._file, self._end, self._kept = file, 0, before + self._kept


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of ``metrics.jsonl``: each has a ``step`` and further numbers by name.

    Raises:
      ConfigError: for a line that is damaged, but for a last one that was cut off.
    """
    path = workdir / METRICS_FILE
    records = read_lines(path)
    for number, record in enumerate(records, start=1):
        numbers = all(isinstance(value, int | float) for value in record.values())
        if not numbers or not isinstance(record.get('step'), int):
            raise _damaged(path, number)
    return records


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one in each line, without a last one that was cut off.

    Returns:
      Nothing, an empty list, where there is no file.

    Raises:
      ConfigError: for another line that is damaged, or a file that cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f'{path} cannot be read: {error.strerror}') from error
    records = []
    for number, line in enumerate(content.split(b'\n')[:-1], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number) from error
        if not isinstance(record, dict):
            raise _damaged(path, number)
        records.append(record)
    return records


def _damaged(path: Path, line: int) -> ConfigError:
    return ConfigError(f'{path}, line {line} is damaged: mend or remove it')


def check_config(workdir: Path | None, config: ml_collections.ConfigDict) -> None:
    """Checks that a configuration is that of the run in ``workdir``, or can begin one.

    Once the run has a checkpoint, ``init_from`` and ``new_classifier`` do not matter any more.

    Raises:
      ConfigError: if it has another one; the message lists the keys. Or one that is damaged, or if
        there are no weights to begin with.
    """
    kept = read_config(workdir) if workdir else None
    begun = workdir is not None and bool(checkpoint_steps(workdir / 'checkpoints'))
    if kept is not None:
        free = RUNTIME_KEYS + START_KEYS if begun else RUNTIME_KEYS
        # Both by way of JSON, which has lists for tuples.
        changes = differences(kept, json.loads(config.to_json()), free)
        if changes:
            raise ConfigError(
                f'{workdir} holds a run with another configuration:\n  '
                + '\n  '.join(changes)
                + '\nTo continue it, give its configuration; for a new run, another --workdir.'
            )
    if config.init_from and not begun:
        try:
            describe_weights(config.init_from)
        except WeightsError as error:
            raise ConfigError(f'init_from: {error}') from error


def read_config(workdir: Path) -> dict[str, Any] | None:
    """Reads ``config.json``, complete: keys that an older version did not know have their defaults.

    Returns:
      None if there is none, or if it is empty, as a power loss may leave it.

    Raises:
      ConfigError: if it is damaged.
    """
    path = workdir / 'config.json'
    try:
        text = path.read_text()
        if not text.strip('\0 \n'):
            warn(f'warning: {path} is empty, as a power loss may leave it')
            return None
        return _complete(json.loads(text), json.loads(default_config().to_json()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f'{path} cannot be read: {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f'{path} is damaged: put back a copy, or the output of --print_config of the '
            f'command that the run was started with'
        ) from error


def _complete(config: Any, default: Any) -> Any:
    """A part of a configuration with the defaults that it lacks; ValueError for another type."""
    if isinstance(default, dict) and isinstance(config, dict):
        return default | {key: _complete(config[key], default.get(key)) for key in config}
    number = isinstance(default, float) and isinstance(config, int)
    absent = config is None and not isinstance(default, dict)
    if default is None or absent or number or isinstance(config, type(default)):
        return config
    raise ValueError(f'{config!r} is no {type(default).__name__}')


def write_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Writes ``config.json``; of a run that is there, what it began with stays.

    Raises:
      WorkdirError: if that is not possible.
    """
    kept = read_config(workdir) if checkpoint_steps(workdir / 'checkpoints') else None
    values = json.loads(config.to_json()) | {key: kept[key] for key in START_KEYS if kept}
    with _writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(workdir / 'config.json', json.dumps(values, indent=2) + '\n')


def write_environment(workdir: Path) -> None:
    """Adds a line to ``environment.jsonl``: what this start of the run runs on.

    Raises:
      WorkdirError: if that is not possible.
    """
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy')
    record = {
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'arguments': sys.argv[1:],
        'python': platform.python_version(),
        'platform': platform.platform(),
        'cpus': os.cpu_count(),
        'version': __version__,
        'packages': {name: importlib.metadata.version(name) for name in packages},
        'devices': [f'{device.platform} {device.device_kind}' for device in jax.devices()],
        'processes': jax.process_count(),
        'commit': _commit(),
    }
    with _writing(workdir):
        append_line(workdir / 'environment.jsonl', json.dumps(record))


@contextlib.contextmanager
def _writing(workdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = Path(error.filename or workdir).name.removesuffix('.tmp')
        raise WorkdirError(f'{workdir}: {name} cannot be written: {error.strerror}') from error


def _commit() -> str | None:
    """The git commit of the code that runs, with '-dirty' for local changes; None outside git."""
    # An installed package may lie in the repository of something else.
    if not _git('ls-files', Path(__file__).name):
        return None
    return _git('describe', '--always', '--dirty')


def _git(*arguments: str) -> str | None:
    command = ['git', '-C', str(Path(__file__).parent), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
