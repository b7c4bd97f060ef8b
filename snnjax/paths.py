"""Paths given by a user."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

from snnjax.errors import UserError


class PathError(UserError, ValueError, argparse.ArgumentTypeError):
    """An invalid path, also as an argument of argparse; the message gives the reason."""


def expand(path: str | Path) -> Path:
    """Returns a path with ``~`` or ``~user`` replaced by the home folder.

    Raises:
      PathError: if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PathError(f'{path}: there is no user of this name') from error


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk and would survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not support fsync, for folders or at all.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
