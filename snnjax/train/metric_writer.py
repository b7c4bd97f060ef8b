"""Writing of metrics to ``metrics.jsonl`` and to loggers."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snnjax.errors import EXIT_FAILED, ConfigError, UserError
from snnjax.files import write_whole
from snnjax.paths import in_bucket
from snnjax.train.bucket_file import BucketFile
from snnjax.train.loggers import LOGGERS, Forgiving, Logger, TensorBoard, check_loggers
from snnjax.train.progress import warn
from snnjax.train.run_directory import WorkdirError

METRICS_FILE = 'metrics.jsonl'


class MetricsError(UserError):
    """Metrics that cannot be written before a checkpoint that they belong to."""

    exit_status = EXIT_FAILED


class MetricWriter:
    """Writes metrics to ``metrics.jsonl``, as TensorBoard events, and to further loggers.

    Errors while writing do not stop training. A logger that fails is switched off. Lines of
    ``metrics.jsonl`` that cannot be written, for example to a full disk, are kept and written with
    the next ones.

    Args:
      workdir: the work directory of the run.
      start_step: the step at which the run begins or resumes. Metrics of later steps are dropped,
        since these steps are taken again.
      enabled: false to write nothing, in processes other than the first.
      also: the names of further loggers, keys of `snnjax.train.loggers.LOGGERS`.
      config: the configuration of the run for these loggers, with keys such as ``model.name``.

    Raises:
      LoggerError: if a logger is unknown or not installed.
      WorkdirError: if ``metrics.jsonl`` cannot be written when the run starts.
    """

    def __init__(
        self,
        workdir: Path,
        start_step: int,
        *,
        enabled: bool = True,
        also: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return
        check_loggers(also)
        kept = [record for record in read_metrics(workdir) if record['step'] <= start_step]
        path = workdir / METRICS_FILE
        try:
            text = ''.join(json.dumps(record) + '\n' for record in kept)
            if in_bucket(path):
                self._lines: _Lines | _BucketLines = _BucketLines(path, text.encode())
            else:
                write_whole(path, text)
                self._lines = _Lines(path)
        except OSError as error:
            raise WorkdirError(f'{path} cannot be written: {error.strerror}') from error
        makers: dict[str, Callable[[], Logger]] = {
            'TensorBoard': functools.partial(TensorBoard, workdir, start_step),
            **{name: functools.partial(LOGGERS[name], workdir, config or {}) for name in also},
        }
        self._loggers = [Forgiving(name, make) for name, make in makers.items()]

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._enabled:
            return
        self._lines.close()
        for logger in self._loggers:
            logger.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of metrics; in a bucket it may be kept for a minute, see `flush`."""
        if not self._enabled:
            return
        self._lines.write_line(json.dumps({'step': step, **values}))
        for logger in self._loggers:
            logger.write(step, values)

    def flush(self) -> None:
        """Writes the kept lines; to be called before a checkpoint is saved.

        Raises:
          MetricsError: if they cannot be written to a bucket.
        """
        if not self._enabled:
            return
        try:
            self._lines.flush()
        except OSError as error:
            raise MetricsError(
                f'{error.filename} cannot be written: {error.strerror}\n'
                'once it can be, the same command resumes the run'
            ) from error


class _BucketLines(BucketFile):
    """The lines of a file in a bucket."""

    def write_line(self, line: str) -> None:
        """Adds a line."""
        self.write(line.encode() + b'\n')


class _Lines:
    """A file to which whole lines are appended, and which is recreated if it was removed.

    Args:
      path: the path of an existing file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open('r+b', buffering=0)
        # The size of the file up to its last whole line, and the data still to be written.
        self._end = self._file.seek(0, os.SEEK_END)
        self._kept = b''

    def write_line(self, line: str) -> None:
        """Adds a line, and the lines that could not be written before."""
        failed_before = bool(self._kept)
        self._kept += line.encode() + b'\n'
        error = self._write_kept()
        if error and not failed_before:
            warn(f'warning: cannot write {self._path}: {error}; training goes on, lines are kept')
        if failed_before and not error:
            warn(f'{self._path} is written again, no line is missing')

    def flush(self) -> None:
        """Does nothing, since each line is written at once."""

    def close(self) -> None:
        """Writes the kept lines, or prints them if that fails."""
        if self._kept and (error := self._write_kept()):
            warn(f'warning: cannot write {self._path}: {error}; it lacks these lines:')
            warn(self._kept.decode().rstrip())
        self._file.close()

    def _write_kept(self) -> OSError | None:
        written = 0
        try:
            self._open_again_if_gone()
            while written < len(self._kept):
                # A full disk may take only a part.
                place = self._end + written
                written += os.pwrite(self._file.fileno(), self._kept[written:], place)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            return error
        self._end, self._kept = self._end + written, b''
        return None

    def _open_again_if_gone(self) -> None:
        """Opens a new file if the file was removed, and keeps all of its lines to be rewritten."""
        # If the folder was moved, the open file is still the right one.
        if self._path.exists() or not self._path.parent.exists():
            return
        # A removed file can be read as long as it is open.
        before = os.pread(self._file.fileno(), self._end, 0)
        file = self._path.open('x+b', buffering=0)
        self._file.close()
        self._file, self._end, self._kept = file, 0, before + self._kept


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of ``metrics.jsonl``: each has a ``step`` and further numbers by name.

    Raises:
      ConfigError: if a line is damaged. An incomplete last line is ignored.
    """
    path = workdir / METRICS_FILE
    records = read_lines(path)
    for number, record in enumerate(records, start=1):
        numbers = all(isinstance(value, int | float) for value in record.values())
        if not numbers or not isinstance(record.get('step'), int):
            raise _damaged(path, number)
    return records


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of JSON objects, one per line; an incomplete last line is ignored.

    Returns:
      The objects, or an empty list if there is no file.

    Raises:
      ConfigError: if a line is damaged, or the file cannot be read.
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
