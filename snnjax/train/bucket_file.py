"""Files in a bucket that a run adds to."""

from __future__ import annotations

import time
from pathlib import Path

from snnjax.train.progress import warn

SECONDS_BETWEEN_WRITES = 60.0


class BucketFile:
    """A file in a bucket that lines or records are added to.

    Nothing can be appended to an object, and one may be written about once a second. So it is
    written anew, whole, at most once a minute and when it is flushed. What cannot be written is
    kept, with a warning, and written with what comes next.

    Args:
      path: the path of the file; what it has already stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = path.read_bytes() if path.exists() else b''
        self._written = len(self._content)
        self._time = time.monotonic()
        self._failed = False

    def write(self, data: bytes) -> None:
        """Adds data, and writes the file if this was last done more than a minute ago."""
        self._content += data
        if time.monotonic() - self._time >= SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Writes the file if anything was added to it, or else keeps that and warns."""
        if self._written == len(self._content):
            return
        try:
            self._path.write_bytes(self._content)
        except OSError as error:
            if not self._failed:
                reason = error.strerror or error
                warn(f'warning: cannot write {self._path}: {reason}; it is written later')
            self._failed = True
        else:
            self._written = len(self._content)
            if self._failed:
                warn(f'{self._path} is written again, nothing is missing')
            self._failed = False
        self._time = time.monotonic()

    def close(self) -> None:
        """Writes what is left, or else prints where it ends."""
        self.flush()
        if self._written < len(self._content):
            left = len(self._content) - self._written
            warn(f'warning: {self._path} lacks its last {left:,} bytes')
