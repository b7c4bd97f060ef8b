"""The files of a download, wherever they lie: in folders, in archives, in archives of archives.

No member is ever unpacked to disk. They are read one by one, those that are asked for only, and
never more of them, or larger ones, than their readers expect. What operating systems leave beside
people's files is not there: whatever begins with a dot, and a few other names.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gzip
import hashlib
import os
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from snnjax.data.sources.file_names import (
    is_archive,
    is_hidden,
    plain_path,
    printable,
    without_suffix,
)
from snnjax.data.sources.tar_headers import read_headers
from snnjax.errors import UserError
from snnjax.spelling import natural_order

MAX_MEMBERS = 4_000_000
MAX_DECOMPRESSED = 2**36
"""Bytes of a compressed tar file."""
MAX_RATIO = 100
"""What is compressed to less than this fraction is refused: no photos or recordings are."""
_ANY_RATIO = 2**24
_ANY_TAR_RATIO = 2**26
"""Bytes up to which `MAX_RATIO` does not matter, of a member of a zip file and of a tar file."""


class ArchiveError(UserError, ValueError):
    """An archive that is broken, or holds what cannot belong in it."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a folder or an archive.

    Attributes:
      name: path in the source, with '/'; archives count as folders, without their suffix. The name
        of a folder ends with '/'. Bytes that are not UTF-8 are written as `printable` does.
      size: in bytes.
      modified: when the file or the archive was, in nanoseconds.
      container: the file itself, or the archive.
      start: of its content in a tar file, in bytes.
      zipped: what a zip file calls it.
      archives: names of the archives that it lies in, with suffix, from the outermost.
      problem: why it cannot be read, as in 'is a link'; '' where it can.
    """

    name: str
    size: int
    modified: int
    container: Path
    start: int = 0
    zipped: str = ''
    archives: tuple[str, ...] = ()
    problem: str = ''

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
            elif not self.archives:
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
    UnicodeDecodeError,
)


def _open_tar(path: Path) -> IO[bytes]:
    """The content of a tar file, decompressed where it is compressed."""
    file = path.open('rb')
    if file.read(2) != b'\x1f\x8b':
        return file
    file.close()
    limit = min(MAX_DECOMPRESSED, max(_ANY_TAR_RATIO, MAX_RATIO * path.stat().st_size))
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
                if content.tell() > limit:
                    raise ArchiveError(f'{path} decompresses to more than {limit:,} bytes')
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


@dataclasses.dataclass(frozen=True)
class Contents:
    """The files that were looked for in a source, and what else lies there.

    Attributes:
      members: the files that are wanted, in natural order ('2' before '10').
      others: counts of all other files by the ending of their names, as '.txt', in lower case.
      folders: names of all folders and archives, as they are in the names of members.
    """

    members: list[Member]
    others: Mapping[str, int]
    folders: set[str]


def survey(
    source: Path, pattern: str, *, max_size: int, max_members: int = MAX_MEMBERS
) -> Contents:
    """Finds the files of ``source`` whose name matches, and says what else is there.

    Args:
      source: a folder, with files or archives at any depth; or an archive: .tar, .tar.gz, .zip, or
        a .tar of .tar files.
      pattern: a regular expression for the end of a name, without regard to case.
      max_size: the largest allowed size of a file, in bytes.
      max_members: the largest allowed number of files.

    Raises:
      FileNotFoundError: where there is no such file.
      ArchiveError: for a broken archive, or one with larger files or more of them; for a link or
        another thing in the place of a file; for an archive beside what was unpacked from it, or
        beside a copy of it.
    """
    if not source.exists():
        raise FileNotFoundError(f'no {source}')
    wanted = re.compile(f'(?:{pattern})$', re.IGNORECASE)
    members: dict[str, Member] = {}
    others: Counter[str] = Counter()
    folders: set[str] = set()
    for number, member in enumerate(_walk(source, '', ())):
        if number == MAX_MEMBERS:
            raise ArchiveError(f'{source} has more than {MAX_MEMBERS:,} files')
        if is_hidden(member.name):
            continue
        folder = member.name.rpartition('/')[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition('/')[0]
        if member.name.endswith('/'):
            continue
        if not wanted.search(member.name):
            others[PurePosixPath(member.name).suffix.lower()] += 1
            continue
        if member.problem:
            raise ArchiveError(f'{member.name} in {member.container} {member.problem}')
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
        there = f': it has {count_endings(others)}' if others else ''
        raise FileNotFoundError(f'no files *{pattern} in {source}{there}')
    _refuse_copies(source, list(members.values()))
    in_order = sorted(members.values(), key=lambda member: natural_order(member.name))
    return Contents(in_order, others, folders)


def find_members(
    source: Path, pattern: str, *, max_size: int, max_members: int = MAX_MEMBERS
) -> list[Member]:
    """Returns the members of a `survey`."""
    return survey(source, pattern, max_size=max_size, max_members=max_members).members


def count_endings(others: Mapping[str, int]) -> str:
    """Returns the commonest endings of `Contents.others` in words, as '12 .tif, 1 .txt'."""
    counted = Counter(others).most_common(8)
    parts = [f'{count:,} {ending or "without an ending"}' for ending, count in counted]
    return ', '.join(parts + ['…'] * (len(others) > len(counted)))


def _refuse_copies(source: Path, members: list[Member]) -> None:
    """Raises ArchiveError where files are in archives and beside them, or in two archives."""
    by_archive: dict[tuple[str, ...], list[Member]] = {}
    for member in members:
        by_archive.setdefault(member.archives, []).append(member)
    for archives, inside in by_archive.items():
        for outer in (archives[:depth] for depth in range(len(archives))):
            if outer in by_archive:
                raise ArchiveError(
                    f'{source} has files in {archives[-1]} ({inside[0].name}) and beside it '
                    f'({by_archive[outer][0].name}): move the one or the other out of it, or pack '
                    f'or unpack all'
                )
    # Copies have the same files, by their names, sizes and contents.
    seen: dict[tuple[tuple[int, str], ...], list[Member]] = {}
    for archives, inside in by_archive.items():
        if len(archives) != 1:
            continue
        ordered = sorted(inside, key=_size_and_file_name)
        other = seen.setdefault(tuple(map(_size_and_file_name, ordered)), ordered)
        # The largest are compared first: archives of different files mostly differ there.
        if (
            other is not ordered
            and _digests(ordered[-1:]) == _digests(other[-1:])
            and _digests(ordered) == _digests(other)
        ):
            raise ArchiveError(
                f'{archives[0]} and {other[0].archives[0]} in {source} hold the same files: move '
                f'the one or the other out of it'
            )


def _size_and_file_name(member: Member) -> tuple[int, str]:
    return member.size, member.name.rpartition('/')[2]


def _digests(members: list[Member]) -> list[bytes]:
    return [hashlib.sha256(member.read()).digest() for member in members]


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


def _walk(path: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[Member]:
    """Yields all files and folders, but for those in hidden folders."""
    if path.is_dir():
        folder = path.resolve()
        if folder in above:
            return  # A link to where it is.
        for child in sorted(path.iterdir()):
            name = prefix + printable(child.name)
            if is_hidden(child.name):
                continue
            if child.is_dir():
                yield Member(f'{name}/', 0, 0, child)
                yield from _walk(child, f'{name}/', (*above, folder))
            elif not child.is_file():
                yield Member(name, 0, 0, path, problem='is a broken link, or no file')
            elif is_archive(child.name):
                yield from _walk_archive(child, f'{without_suffix(name)}/', name)
            else:
                yield _member_of_its_own(child, name)
    elif is_archive(path.name):
        yield from _walk_archive(path, prefix, printable(path.name))
    else:
        yield _member_of_its_own(path, prefix + printable(path.name))


def _member_of_its_own(path: Path, name: str) -> Member:
    status = path.stat()
    return Member(name, status.st_size, status.st_mtime_ns, path)


def _walk_archive(path: Path, prefix: str, name: str) -> Iterator[Member]:
    try:
        if path.suffix.lower() == '.zip':
            yield from _walk_zip(path, prefix, name)
        else:
            file = _last_opened.tar(path)
            size = file.seek(0, os.SEEK_END)
            yield from _walk_tar(file, path, prefix, (name,), 0, size)
    except _BROKEN as error:
        raise ArchiveError(f'{path} cannot be read: {error}') from error


_NO_FILE = (
    'is a link, or no file: pack the files themselves (zip without --symlinks; tar with '
    '--dereference --hard-dereference)'
)


def _walk_zip(path: Path, prefix: str, archive: str) -> Iterator[Member]:
    status = path.stat()
    for info in _last_opened.zip(path).infolist():
        name, problem = info.filename, ''
        if not info.flag_bits & 0x800:
            # Not said to be UTF-8, which macOS writes all the same.
            with contextlib.suppress(UnicodeError):
                name = name.encode('cp437').decode()
        if info.create_system == 0:  # Windows, some of whose programs write its own separators.
            name = name.replace('\\', '/')
        # Whoever packs on Unix says here what kind of file it is.
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = _NO_FILE
        elif info.file_size > max(_ANY_RATIO, MAX_RATIO * min(info.compress_size, status.st_size)):
            problem = (
                f'would become {info.file_size:,} bytes, more than {MAX_RATIO} times what it is '
                f'compressed to, as no photo or recording does'
            )
        yield Member(
            prefix + plain_path(name) + '/' * info.is_dir(),
            info.file_size,
            status.st_mtime_ns,
            path,
            zipped=info.filename,
            archives=(archive,),
            problem=problem,
        )


def _walk_tar(
    file: IO[bytes], path: Path, prefix: str, archives: tuple[str, ...], start: int, size: int
) -> Iterator[Member]:
    """Yields the members of an archive, and of archives in it, but not of those in them."""
    modified = path.stat().st_mtime_ns
    for info in read_headers(file, start, size):
        name = prefix + plain_path(info.name)
        content = start + info.offset_data
        if info.isreg() and name.lower().endswith('.tar') and len(archives) == 1:
            if not is_hidden(name):
                inside = (*archives, name)
                yield from _walk_tar(file, path, f'{name[:-4]}/', inside, content, info.size)
            continue
        yield Member(
            name + '/' * info.isdir(),
            info.size,
            modified,
            path,
            content,
            archives=archives,
            problem='' if info.isreg() or info.isdir() else _NO_FILE,
        )
