"""Files of a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from etils.epath import gpath

from snnjax.errors import UserError
from snnjax.paths import expand, sync

LOCK_FILE = 'lock'


class WorkdirError(UserError, OSError):
    """A work directory that cannot be used; the message says why."""


class LocalPath(gpath.PosixGPath):
    """A path for Orbax whose every character stands for itself.

    Orbax finds the parts of a checkpoint by a pattern that begins with the path: with ``[`` in it
    nothing is found, or the parts of another run. And ``/s3/runs`` would be a bucket.
    """

    def glob(self, pattern: str) -> Iterator[LocalPath]:
        """Returns what matches below this path, the path itself taken literally."""
        return map(LocalPath, Path(self).glob(pattern))

    @property
    def _uri_scheme(self) -> None:
        return None


def write_whole(path: Path, text: str) -> None:
    """Replaces a file so that it is never seen half written, not even after a power loss."""
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(text)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file that is made where it is missing, and waits until it is on the disk."""
    with path.open('ab+', buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        # A line that was cut off stays one.
        cut = size > 0 and os.pread(file.fileno(), 1, size - 1) != b'\n'
        try:
            data = b'\n' * cut + line.encode() + b'\n'
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # A full disk may have taken a part.
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise
    sync(path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Waits until a folder with all that is in it would outlast a power loss."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def check_name(path: Path) -> None:
    """Checks that checkpoints can be written to a path, and read again.

    Raises:
      ValueError: for a character that TensorStore, which writes the arrays, takes for another.
    """
    text = str(path.absolute())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError('is not UTF-8: give a folder with another name') from None
    if '\\' in text:
        raise ValueError('has a backslash in its path: give a folder without')


def compilation_cache() -> Path:
    """The folder of programs that were compiled before."""
    given = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    home = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return expand(given or f'{home}/snnjax')


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Keeps a work directory, made where it is missing, to this process while the context lasts.

    The system lets go of it when the process ends, however that is. Where a file system knows no
    locks, there is none.

    Raises:
      WorkdirError: where another command works in it, or it cannot be written to.
    """
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
