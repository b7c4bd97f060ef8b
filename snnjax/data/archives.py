"""The files of a download, wherever they lie: in folders, in archives, in archives of archives.

Nothing is ever unpacked to disk. Members are read one by one, those that are asked for only, and
never more of them, or larger ones, than their readers expect.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

MAX_MEMBERS = 4_000_000


class ArchiveError(ValueError):
    """An archive that is broken, or holds what cannot belong in it."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a folder or an archive.

    Attributes:
      name: path in the source, with '/'; archives count as folders, without their suffix.
      size: in bytes.
      container: the file itself, or the archive.
      place: where it starts in a tar file, in bytes, or what a zip file calls it; None for a file
        of its own.
    """

    name: str
    size: int
    container: Path
    place: int | str | None = None

    def read(self) -> bytes:
        """All of it.

        Raises:
          ArchiveError: where the archive is broken.
        """
        try:
            if isinstance(self.place, str):
                content = _open_zip(self.container).read(self.place)
            else:
                file = _open_file(self.container)
                file.seek(self.place or 0)
                content = file.read(self.size)
        except (zipfile.BadZipFile, EOFError, gzip.BadGzipFile, NotImplementedError) as error:
            raise ArchiveError(f'{self.container}: {self.name}: {error}') from error
        if len(content) != self.size:
            raise ArchiveError(f'{self.container}: {self.name} ends early: download it again')
        return content


@functools.lru_cache(maxsize=1)
def _open_zip(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@functools.lru_cache(maxsize=1)
def _open_file(path: Path) -> BinaryIO:
    with path.open('rb') as file:
        compressed = file.read(2) == b'\x1f\x8b'
    return gzip.open(path) if compressed else path.open('rb')  # type: ignore[return-value]


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
    members = []
    for member in _walk(source, ''):
        if wanted.search(member.name) and '__MACOSX/' not in member.name:
            if member.size > max_size:
                raise ArchiveError(
                    f'{member.name} in {source} has {member.size:,} bytes, more than {max_size:,}'
                )
            members.append(member)
            if len(members) > max_members:
                raise ArchiveError(f'{source} has more than {max_members:,} files')
    if not members:
        raise FileNotFoundError(f'no files *{pattern} in {source}')
    return sorted(members, key=lambda member: natural_order(member.name))


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


def natural_order(name: str) -> list[Any]:
    """Sorts names with numbers in them by the numbers."""
    return [
        (0, int(part), '') if part.isdecimal() else (1, 0, part)
        for part in re.split(r'(\d+)', name)
        if part
    ]


def _walk(path: Path, prefix: str) -> Iterator[Member]:
    if path.is_dir():
        for child in sorted(path.iterdir()):
            is_archive = child.is_file() and _ARCHIVE.search(child.name)
            name = _ARCHIVE.sub('', child.name) if is_archive else child.name
            if child.is_dir() or is_archive:
                yield from _walk(child, f'{prefix}{name}/')
            elif child.is_file():
                yield Member(prefix + name, child.stat().st_size, child)
        return
    try:
        if path.suffix == '.zip':
            yield from _walk_zip(path, prefix)
        elif _ARCHIVE.search(path.name):
            with tarfile.open(path) as tar:
                yield from _walk_tar(tar, path, prefix, 0)
        else:
            yield Member(path.name, path.stat().st_size, path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile) as error:
        raise ArchiveError(f'{path} cannot be read: {error}') from error


_ARCHIVE = re.compile(r'\.(?:zip|tar|tar\.gz|tgz)$')


def _walk_zip(path: Path, prefix: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield Member(prefix + info.filename, info.file_size, path, info.filename)


def _walk_tar(tar: tarfile.TarFile, path: Path, prefix: str, start: int) -> Iterator[Member]:
    for info in tar:
        if not info.isreg():
            continue
        name = prefix + info.name.removeprefix('./')
        file = tar.extractfile(info) if info.name.endswith('.tar') else None
        if file:
            with tarfile.open(fileobj=file, mode='r:') as inner:
                folder = name.removesuffix('.tar') + '/'
                yield from _walk_tar(inner, path, folder, start + info.offset_data)
        else:
            yield Member(name, info.size, path, start + info.offset_data)
