"""What a run leaves in its work directory to be read: configuration, environment, lock."""

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
from collections.abc import Iterator
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
def lock(workdir: Path) -> Iterator[None]:
    """Keeps a work directory, made if it is missing, to this process while the context lasts.

    The system releases the lock of a file when its process ends, however that is. If a file system
    has no locks, there is none. In a bucket there is a lease, see `snnjax.train.lease`.

    Raises:
      LeaseError: if another command has the lease of it, or the bucket cannot be written to.
      WorkdirError: if another command works in it, or it cannot be written to.
    """
    if in_bucket(workdir):
        with lease(workdir):
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
        # Only said to others; a full disk has other ways to show.
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        yield


def check_config(workdir: Path | None, config: ml_collections.ConfigDict) -> None:
    """Checks that a configuration is that of the run in ``workdir``, or can begin one.

    Once the run has a checkpoint, ``init_from`` and ``reset_head`` do not matter any more.

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
