"""Files of a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from snnjax.errors import UserError

LOCK_FILE = 'lock'


class WorkdirError(UserError, OSError):
    """A work directory that cannot be used; the message says why."""


def write_whole(path: Path, text: str) -> None:
    """Replaces a file so that it is never seen half written."""
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(text)
    temporary.replace(path)


def compilation_cache() -> Path:
    """The folder of programs that were compiled before."""
    given = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    home = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return Path(given or f'{home}/snnjax').expanduser()


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
