"""Paths that a user gives."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

from snnjax.errors import UserError


class PathError(UserError, ValueError, argparse.ArgumentTypeError):
    """A path that cannot be used; the message says why, also as that of an argument."""


def expand(path: str | Path) -> Path:
    """Returns a path with the home folder in the place of ``~`` or ``~user``.

    Raises:
      PathError: if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PathError(f'{path}: there is no user of this name') from error


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlast a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems know nothing of it, for folders or at all.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
