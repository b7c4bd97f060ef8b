"""The headers of a tar file, or of one inside another, with bounds on what reading them takes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Any


class _Part:
    """A part of a file that tarfile reads the headers of: they are small."""

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
            raise tarfile.ReadError(f'a header of {size:,} bytes')
        self._file.seek(self._start + self._place)
        content = self._file.read(max(0, min(size, self._size - self._place)))
        self._place += len(content)
        return content


_SPARSE = 'it has sparse files: pack it again without --sparse'


class _TarInfo(tarfile.TarInfo):
    """Refuses a sparse file at its header, where the list of its parts may go on without end."""

    def _refuse(self, *unused: Any) -> Any:
        raise tarfile.ReadError(_SPARSE)

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse


def read_headers(file: IO[bytes], start: int, size: int) -> Iterator[tarfile.TarInfo]:
    """Yields the headers of a tar file; their ``offset_data`` counts from its start.

    Args:
      file: has the tar file in it.
      start: the place in it where the tar file begins, in bytes.
      size: the size of the tar file, in bytes.

    Raises:
      tarfile.TarError: for an archive that is damaged or ends early, and for a sparse file, whose
        bytes in the archive are not those of the file.
    """
    part = _Part(file, start, size)
    with tarfile.open(fileobj=part, mode='r:', tarinfo=_TarInfo) as tar:  # type: ignore[call-overload]
        for info in tar:
            tar.members.clear()  # It would keep them all.
            if info.size < 0:
                raise tarfile.ReadError(f'{info.name} has {info.size} bytes')
            # Also what becomes known of later formats.
            if info.issparse() or any(key.startswith('GNU.sparse.') for key in info.pax_headers):
                raise tarfile.ReadError(_SPARSE)
            yield info
        # An archive ends with two blocks of zeros; where it does not, tarfile stops without a word.
        part.seek(tar.offset)
        end = part.read(2 * tarfile.BLOCKSIZE)
        if not end or end.strip(b'\0'):
            raise tarfile.ReadError(f'it breaks off or is damaged at byte {start + tar.offset:,}')
