"""Files in a bucket that grow during a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

from snnjax.buckets import BucketPath
from snnjax.train.progress import warn

SECONDS_BETWEEN_WRITES = 60.0


class BucketFile:
    """A file in a bucket to which lines or records are appended.

    Objects do not support appending, and may be written about once a second. Thus the whole object
    is rewritten at most once a minute, and when it is flushed. Data that cannot be written is kept
    with a warning, and written with the next data. An object that somebody else has written in the
    meantime is left alone from then on.

    Args:
      path: the path of the file.
      content: the first content, which is written at once.

    Raises:
      OSError: if the first content cannot be written.
    """

    def __init__(self, path: Path, content: bytes = b'') -> None:
        self._path = cast(BucketPath, path)
        self._content = bytearray(content)
        # None: another command has written the object.
        self._generation: bytes | None = None
        self._written = -1
        self._time = time.monotonic()
        self._failed = False
        self._write(self._path.read_if_there()[1])

    def write(self, data: bytes) -> None:
        """Appends data, and writes the file if the last write was more than a minute ago."""
        self._content += data
        if time.monotonic() - self._time < SECONDS_BETWEEN_WRITES:
            return
        try:
            self.flush()
        except OSError as error:
            if not self._failed:
                warn(f'warning: {error.filename}: {error.strerror}; it is written later')
            self._failed = True

    def flush(self) -> None:
        """Writes the file if data was added.

        Raises:
          OSError: if that fails; the data is kept.
        """
        if self._generation is None or self._written == len(self._content):
            return
        self._write(self._generation)
        if self._failed:
            warn(f'{self._path} is written again, nothing is missing')
        self._failed = False

    def close(self) -> None:
        """Writes the remaining data, or warns how many bytes are missing."""
        try:
            self.flush()
        except OSError as error:
            left = len(self._content) - self._written
            warn(f'warning: {self._path} lacks its last {left:,} bytes: {error.strerror}')

    def _write(self, generation: bytes) -> None:
        self._time = time.monotonic()
        self._generation = self._path.write_if(bytes(self._content), generation)
        self._written = len(self._content)
        if self._generation is None:
            warn(f'warning: another command writes {self._path}: this one leaves it alone')
