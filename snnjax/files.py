"""Files that survive a power loss, and paths for Orbax."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from etils.epath import gpath

from snnjax.buckets import BucketPath
from snnjax.paths import in_bucket, sync


class LocalPath(gpath.PosixGPath):
    """A path for Orbax, all of whose characters are literal.

    Orbax finds the parts of a checkpoint by a glob pattern that begins with the path. If the path
    contains ``[``, it finds nothing, or the parts of another run. ``/s3/runs`` would be a bucket.
    """

    def glob(self, pattern: str) -> Iterator[LocalPath]:
        """Returns the matches below this path; the path itself is literal."""
        return map(LocalPath, Path(self).glob(pattern))

    @property
    def _uri_scheme(self) -> None:
        return None


def for_orbax(path: Path) -> gpath.PosixGPath:
    """Returns a path for Orbax, which is absolute or in a bucket."""
    return cast(gpath.PosixGPath, path) if in_bucket(path) else LocalPath(path.absolute())


def write_whole(path: Path, text: str) -> None:
    """Replaces a file atomically, so that not even a power loss leaves a partial file."""
    if in_bucket(path):
        path.write_text(text)
        return
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(text)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def append_line(path: Path, line: str) -> None:
    """Appends a line to a file, which is created if it is missing, and waits until it is on disk.

    In a bucket the whole file is rewritten, so use it for few lines and one writer.
    """
    if in_bucket(path):
        before = path.read_text() if path.exists() else ''
        path.write_text(f'{before}{line}\n')
        return
    with path.open('ab+', buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        # An incomplete line stays a line of its own.
        cut = size > 0 and os.pread(file.fileno(), 1, size - 1) != b'\n'
        try:
            data = b'\n' * cut + line.encode() + b'\n'
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # A full disk may have taken only a part.
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise
    sync(path)
    sync(path.parent)


def size_of(folder: Path) -> int:
    """Returns the size of all files below a folder, in bytes."""
    if isinstance(folder, BucketPath):
        return folder.size()
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def sync_tree(folder: Path) -> None:
    """Waits until a folder and all of its content would survive a power loss."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def check_name(path: Path) -> None:
    """Checks that checkpoints can be written to a path and read from it.

    Raises:
      ValueError: if TensorStore, which writes the arrays, misinterprets a character of the path.
    """
    text = str(path.absolute())
    if in_bucket(path):
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError('is not UTF-8: give a folder with another name') from None
    if '\\' in text:
        raise ValueError('has a backslash in its path: give a folder without')
