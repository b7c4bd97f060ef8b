"""The files of a download, wherever they lie: in folders, in archives, in archives of archives.

No member is ever unpacked to disk. They are read one by one, those that are asked for only, and
never more of them, or larger ones, than their readers expect.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gzip
import hashlib
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from snnjax.errors import UserError

MAX_MEMBERS = 4_000_000
MAX_DECOMPRESSED = 2**36
"""Bytes of a compressed tar file."""


class ArchiveError(UserError, ValueError):
    """An archive that is broken, or holds what cannot belong in it."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a folder or an archive.

    Attributes:
      name: path in the source, with '/'; archives count as folders, without their suffix.
      size: in bytes.
      modified: when the file or the archive was, in nanoseconds.
      container: the file itself, or the archive.
      start: of its content in a tar file, in bytes.
      zipped: what a zip file calls it.
    """

    name: str
    size: int
    modified: int
    container: Path
    start: int = 0
    zipped: str = ''

    def read(self) -> bytes:
        """All of it.

        Raises:
          ArchiveError: where the archive is broken.
        """
        try:
            if self.zipped:
                # Told how much there is, it never decompresses more.
                with _last_opened.zip(self.container).open(self.zipped) as file:
                    content = file.read(self.size)
            elif not _ARCHIVE.search(self.container.name):
                with self.container.open('rb') as file:
                    content = file.read(self.size)
            else:
                container = _last_opened.tar(self.container)
                container.seek(self.start)
                content = container.read(self.size)
        except _BROKEN as error:
            raise ArchiveError(f'{self.container}: {self.name}: {error}') from error
        if len(content) != self.size:
            raise ArchiveError(f'{self.container}: {self.name} ends early: download it again')
        return content


# RuntimeError and NotImplementedError are for members that are encrypted or compressed otherwise.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
_ARCHIVE = re.compile(r'\.(?:zip|tar|tar\.gz|tgz)$')


def _open_tar(path: Path) -> IO[bytes]:
    """The content of a tar file, decompressed where it is compressed."""
    file = path.open('rb')
    if file.read(2) != b'\x1f\x8b':
        return file
    file.close()
    # To go back in a compressed file is to read it from its start again: it is laid down, whole,
    # in a file that is gone with the program.
    with contextlib.ExitStack() as on_error:
        content = on_error.enter_context(tempfile.TemporaryFile())
        with (
            gzip.open(path) as compressed,
            tqdm(desc=f'reading {path.name}', unit='B', unit_scale=True, disable=None) as bar,
        ):
            while chunk := compressed.read(2**20):
                bar.update(content.write(chunk))
                if content.tell() > MAX_DECOMPRESSED:
                    raise ArchiveError(f'{path} has more than {MAX_DECOMPRESSED:,} bytes')
        on_error.pop_all()
    return content


class _LastOpened:
    """The archive that was read last, since the next member mostly lies in it, too."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._content: Any = None

    def zip(self, path: Path) -> zipfile.ZipFile:
        """A zip file."""
        return self._get(path, zipfile.ZipFile)

    def tar(self, path: Path) -> IO[bytes]:
        """A tar file, decompressed where it is compressed."""
        return self._get(path, _open_tar)

    def _get(self, path: Path, open_: Callable[[Path], Any]) -> Any:
        if path != self._path:
            self.close()
            self._path, self._content = path, open_(path)
        return self._content

    def close(self) -> None:
        """Closes it, if there is one."""
        if self._path:
            self._content.close()
        self._path = None


_last_opened = _LastOpened()
atexit.register(_last_opened.close)


def find_members(
    source: Path, pattern: str, *, max_size: int, max_members: int = MAX_MEMBERS
) -> list[Member]:
    """The files of ``source`` whose name matches, in natural order ('2' before '10').

    Args:
      source: a folder, with files or archives at any depth; or an archive: .tar, .tar.gz, .zip, or
        a .tar of .tar files.
      pattern: a regular expression for the end of a name, without regard to case.
      max_size: in bytes, of each.
      max_members: how many there may be.

    Raises:
      FileNotFoundError: where there is no such file.
      ArchiveError: for a broken archive, or one with larger files or more of them.
    """
    if not source.exists():
        raise FileNotFoundError(f'no {source}')
    wanted = re.compile(f'(?:{pattern})$', re.IGNORECASE)
    members: dict[str, Member] = {}
    for number, member in enumerate(_walk(source, '', ())):
        if number == MAX_MEMBERS:
            raise ArchiveError(f'{source} has more than {MAX_MEMBERS:,} files')
        if not wanted.search(member.name) or '__MACOSX/' in member.name:
            continue
        if member.size > max_size:
            raise ArchiveError(
                f'{member.name} in {source} has {member.size:,} bytes, more than {max_size:,}'
            )
        if member.name in members:
            raise ArchiveError(
                f'{member.name} is in {source} twice, in {members[member.name].container} and '
                f'{member.container}'
            )
        members[member.name] = member
        if len(members) > max_members:
            raise ArchiveError(f'{source} has more than {max_members:,} files *{pattern}')
    if not members:
        raise FileNotFoundError(f'no files *{pattern} in {source}')
    return sorted(members.values(), key=lambda member: natural_order(member.name))


def check_archives(source: Path, md5: Mapping[str, str]) -> None:
    """Compares archives with their published checksums; what is unpacked already has none.

    Args:
      source: one of the archives, or a folder that may have them.
      md5: of each archive, by its file's name.

    Raises:
      ArchiveError: for another checksum.
    """
    for path in [source] if source.is_file() else [source / name for name in md5]:
        if path.name not in md5 or not path.is_file():
            continue
        digest = hashlib.md5(usedforsecurity=False)
        with (
            path.open('rb') as file,
            tqdm(
                desc=f'checking {path.name}',
                total=path.stat().st_size,
                unit='B',
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while chunk := file.read(2**24):
                digest.update(chunk)
                bar.update(len(chunk))
        if digest.hexdigest() != md5[path.name]:
            raise ArchiveError(
                f'{path} has MD5 {digest.hexdigest()}, the official one has {md5[path.name]}: '
                f'download it again (or unpack it, and give the folder, if it is right as it is)'
            )


def locate(source: Path, *names: str) -> Path:
    """The first of these files and folders that ``source`` has, or ``source`` where it is one.

    Raises:
      FileNotFoundError: where it has none.
    """
    if source.name in names and source.exists():
        return source
    for name in names:
        if (source / name).exists():
            return source / name
    raise FileNotFoundError(f'no {" or ".join(names)} in {source}')


def natural_order(name: str) -> list[Any]:
    """Sorts names with numbers in them by the numbers."""
    return [
        (0, int(part), '') if part.isdecimal() else (1, 0, part)
        for part in re.split(r'(\d+)', name)
        if part
    ]


def _walk(path: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[Member]:
    if path.is_dir():
        folder = path.resolve()
        if folder in above:
            return  # A link to where it is.
        for child in sorted(path.iterdir()):
            is_archive = child.is_file() and _ARCHIVE.search(child.name)
            name = _ARCHIVE.sub('', child.name) if is_archive else child.name
            if child.is_dir() or is_archive:
                yield from _walk(child, f'{prefix}{name}/', (*above, folder))
            elif child.is_file():
                yield _member_of_its_own(child, prefix)
        return
    try:
        if not _ARCHIVE.search(path.name):
            yield _member_of_its_own(path, prefix)
        elif path.suffix == '.zip':
            yield from _walk_zip(path, prefix)
        else:
            yield from _walk_tar(_last_opened.tar(path), path, prefix)
    except _BROKEN as error:
        raise ArchiveError(f'{path} cannot be read: {error}') from error


def _member_of_its_own(path: Path, prefix: str) -> Member:
    stat = path.stat()
    return Member(prefix + path.name, stat.st_size, stat.st_mtime_ns, path)


def _walk_zip(path: Path, prefix: str) -> Iterator[Member]:
    modified = path.stat().st_mtime_ns
    for info in _last_opened.zip(path).infolist():
        if not info.is_dir():
            name = prefix + info.filename
            yield Member(name, info.file_size, modified, path, zipped=info.filename)


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


def _walk_tar(
    file: IO[bytes], path: Path, prefix: str, inside: tarfile.TarInfo | None = None
) -> Iterator[Member]:
    """Members of an archive, and of those ``inside`` it."""
    modified = path.stat().st_mtime_ns
    start = inside.offset_data if inside else 0
    part = _Part(file, start, inside.size if inside else file.seek(0, os.SEEK_END))
    with tarfile.open(fileobj=part, mode='r:') as tar:  # type: ignore[call-overload]
        for info in tar:
            if info.size < 0:
                raise tarfile.ReadError(f'{info.name} has {info.size} bytes')
            if not info.isreg():
                continue
            name = prefix + info.name.removeprefix('./')
            if not inside and name.endswith('.tar'):
                yield from _walk_tar(file, path, name.removesuffix('.tar') + '/', info)
            else:
                yield Member(name, info.size, modified, path, start + info.offset_data)
        # An archive ends with two blocks of zeros; where it does not, tarfile stops without a word.
        part.seek(tar.offset)
        end = part.read(2 * tarfile.BLOCKSIZE)
        if not end or end.strip(b'\0'):
            raise tarfile.ReadError(f'it breaks off or is damaged at byte {start + tar.offset:,}')
