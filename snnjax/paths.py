"""Paths given by a user."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from snnjax.errors import PathError


def expand(path: str | Path) -> Path:
    """Returns the path that a user gave, with ``~`` or ``~user`` replaced by the home folder.

    Args:
      path: a path of a file system, or ``gs://BUCKET/NAME``, see `snnjax.buckets.open_bucket`.

    Raises:
      PathError: if there is no such user, or the store of a URL is not supported.
    """
    text = str(path)
    if re.match('[A-Za-z][A-Za-z0-9+.-]+://', text):
        from snnjax.buckets import open_bucket

        return open_bucket(text)
    if re.match('(gs|s3):/', text):
        raise PathError(f'{text}: pathlib takes a slash from a URL; give it as text')
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PathError(f'{path}: there is no user of this name') from error


def in_bucket(path: Path) -> bool:
    """Returns whether a path is in a bucket."""
    return str(path).startswith('gs://')


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
