"""The configuration, the environment and the lock in the work directory of a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections

from snnjax.errors import UserError, WeightsError
from snnjax.files import append_line, check_name, write_whole
from snnjax.paths import in_bucket
from snnjax.train.config import (
    RUNTIME_KEYS,
    START_KEYS,
    ConfigError,
    default_config,
    differences,
)
from snnjax.train.lease import lease
from snnjax.train.progress import warn
from snnjax.train.renamed_keys import with_current_keys
from snnjax.version import __version__
from snnjax.weights.folder import describe_weights
from snnjax.weights.steps import checkpoint_steps

LOCK_FILE = 'lock'


class WorkdirError(UserError, OSError):
    """A work directory that cannot be used; the message says why."""


@contextlib.contextmanager
def lock(workdir: Path, stopping: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Locks a work directory for this process while the context lasts; creates it if missing.

    The system releases the file lock when the process ends in any way. On a file system without
    locks, nothing is locked. In a bucket, a lease takes the place of the lock, see
    `snnjax.train.lease`.

    Raises:
      LeaseError: if another command has the lease, or the bucket cannot be written to.
      WorkdirError: if another command uses the directory, or it cannot be written to.
    """
    if in_bucket(workdir):
        with lease(workdir, stopping):
            yield
        return
    path = workdir / LOCK_FILE
    try:
        check_name(workdir)
    except ValueError as error:
        raise WorkdirError(f'--workdir={workdir} {error}') from None
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
    except OSError as error:
        raise WorkdirError(f'--workdir={workdir} cannot be written to: {error.strerror}') from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkdirError(
                f'--workdir={workdir} is in use by {file.read().strip() or "another command"}: '
                f'wait for it, stop it, or give another --workdir'
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        # The text only informs other commands. A full disk will be reported elsewhere.
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        yield


def check_config(workdir: Path | None, config: ml_collections.ConfigDict) -> None:
    """Checks that a configuration matches the run in ``workdir``, or can begin a new run.

    Once the run has a checkpoint, ``init_from`` and ``reset_head`` are ignored.

    Raises:
      ConfigError: if the run has another configuration, and the message lists the keys; if its
        ``config.json`` is damaged; or if the weights of ``init_from`` do not exist.
    """
    kept = read_config(workdir) if workdir else None
    begun = workdir is not None and bool(checkpoint_steps(workdir / 'checkpoints'))
    if kept is not None:
        free = RUNTIME_KEYS + START_KEYS if begun else RUNTIME_KEYS
        # Compare both after a conversion to JSON, which turns tuples into lists.
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
    """Reads ``config.json``; keys that an older version did not know get their defaults.

    Returns:
      The configuration, or None if the file is missing, or empty after a power loss.

    Raises:
      ConfigError: if the file is damaged.
    """
    path = workdir / 'config.json'
    try:
        text = path.read_text()
        if not text.strip('\0 \n'):
            warn(f'warning: {path} is empty, as a power loss may leave it')
            return None
        defaults = json.loads(default_config().to_json())
        kept = json.loads(text)
        return _complete(with_current_keys(kept) if isinstance(kept, dict) else kept, defaults)
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
    """Adds missing defaults to a part of a configuration; ValueError for another type."""
    if isinstance(default, dict) and isinstance(config, dict):
        return default | {key: _complete(config[key], default.get(key)) for key in config}
    number = isinstance(default, float) and isinstance(config, int)
    absent = config is None and not isinstance(default, dict)
    if default is None or absent or number or isinstance(config, type(default)):
        return config
    raise ValueError(f'{config!r} is no {type(default).__name__}')


def write_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Writes ``config.json``; a run with checkpoints keeps its values of `START_KEYS`.

    Raises:
      WorkdirError: if the file cannot be written.
    """
    kept = read_config(workdir) if checkpoint_steps(workdir / 'checkpoints') else None
    values = json.loads(config.to_json()) | {key: kept[key] for key in START_KEYS if kept}
    with _writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(workdir / 'config.json', json.dumps(values, indent=2) + '\n')


def write_environment(workdir: Path) -> None:
    """Adds a line to ``environment.jsonl`` with the software and the devices of this start.

    Raises:
      WorkdirError: if the file cannot be written.
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
    """Returns the git commit of this code, with '-dirty' for local changes; None outside git."""
    # An installed package may be inside the repository of another project.
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
