"""Files that outlast a power loss, and paths as Orbax takes them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from etils.epath import gpath

from snnjax.paths import sync


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
