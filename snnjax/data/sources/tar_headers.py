"""Bounded reading of the headers of a tar file, which may be inside another tar file."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Any


class _Part:
    """A part of a file as a file object for tarfile, which may read only small headers from it."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size = file, start, size
        self._place = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> int:
        self._place = place
        return place

    def read(self, size: int) -> bytes:
        if not 0 <= size <= 2**20:
            raise tarfile.ReadError(f'a header of {size:,} bytes, more than {2**20:,}')
        self._file.seek(self._start + self._place)
        content = self._file.read(max(0, min(size, self._size - self._place)))
        self._place += len(content)
        return content


_SPARSE = 'the archive has sparse files: pack it again without --sparse'


class _TarInfo(tarfile.TarInfo):
    """A header that refuses sparse files, since the list of their parts may be endless."""

    def _refuse(self, *unused: Any) -> Any:
        raise tarfile.ReadError(_SPARSE)

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse


def read_headers(file: IO[bytes], start: int, size: int) -> Iterator[tarfile.TarInfo]:
    """Yields the headers of a tar file, with ``offset_data`` relative to its start.

    Args:
      file: a file that contains the tar file.
      start: the offset of the tar file in ``file``, in bytes.
      size: the size of the tar file, in bytes.

    Raises:
      tarfile.TarError: if the archive is damaged or truncated, or has a sparse file. The bytes of a
        sparse file in the archive are not its content.
    """
    part = _Part(file, start, size)
    with tarfile.open(fileobj=part, mode='r:', tarinfo=_TarInfo) as tar:  # type: ignore[call-overload]
        for info in tar:
            tar.members.clear()  # tarfile would keep all headers in memory.
            if info.size < 0:
                raise tarfile.ReadError(f'{info.name} has a negative size, {info.size} bytes')
            # The second test also catches later formats of sparse files.
            if info.issparse() or any(key.startswith('GNU.sparse.') for key in info.pax_headers):
                raise tarfile.ReadError(_SPARSE)
            yield info
        # An archive ends with two blocks of zeros; if they are missing, tarfile raises no error.
        part.seek(tar.offset)
        end = part.read(2 * tarfile.BLOCKSIZE)
        if not end or end.strip(b'\0'):
            raise tarfile.ReadError(
                f'the archive is truncated or damaged at byte {start + tar.offset:,}: download or '
                f'pack it again'
            )
