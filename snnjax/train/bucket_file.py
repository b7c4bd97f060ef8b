"""Files in a bucket that grow during a run."""

from __future__ import annotations

import time
from pathlib import Path

from snnjax.train.progress import warn

SECONDS_BETWEEN_WRITES = 60.0


class BucketFile:
    """A file in a bucket to which lines or records are appended.

    Objects do not support appending, and may be written about once a second. Thus the whole object
    is rewritten at most once a minute, and when it is flushed. Data that cannot be written is kept
    with a warning, and written with the next data.

    Args:
      path: the path of the file. Existing content is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = path.read_bytes() if path.exists() else b''
        self._written = len(self._content)
        self._time = time.monotonic()
        self._failed = False

    def write(self, data: bytes) -> None:
        """Appends data, and writes the file if the last write was more than a minute ago."""
        self._content += data
        if time.monotonic() - self._time >= SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Writes the file if data was added; if that fails, warns and keeps the data."""
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
        """Writes the remaining data, or warns how many bytes are missing."""
        self.flush()
        if self._written < len(self._content):
            left = len(self._content) - self._written
            warn(f'warning: {self._path} lacks its last {left:,} bytes')
