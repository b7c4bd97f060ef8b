"""The files of a download in folders, archives, and archives of archives.

Members are never unpacked to disk. They are read one at a time, only if they are needed, and their
number and size are limited. Hidden files and the files of operating systems are ignored: names that
begin with a dot, and a few others.
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
"""The largest decompressed size of a tar file, in bytes."""
MAX_RATIO = 100
"""The largest ratio of decompressed to compressed size; photos and recordings compress less."""
_ANY_RATIO = 2**24
_ANY_TAR_RATIO = 2**26
"""The decompressed bytes of a zip member and of a tar file up to which any ratio is allowed."""


class ArchiveError(UserError, ValueError):
    """An archive that is damaged, or has content that is refused."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a folder or an archive.

    Attributes:
      name: the path in the source, with '/'. Archives count as folders without their suffix, and
        the name of a folder ends with '/'. Bytes that are not UTF-8 are escaped as by `printable`.
      size: the size in bytes.
      modified: the modification time of the file or the archive, in nanoseconds.
      container: the path of the file itself, or of the archive.
      start: the offset of the content in a tar file, in bytes.
      zipped: the name in a zip file, or ''.
      archives: the names of the archives that contain the file, with suffix, outermost first.
      problem: the reason why the file cannot be read, such as 'is a link', or ''.
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
        """Returns the content of the file.

        Raises:
          ArchiveError: if the archive is damaged or the file is truncated.
        """
        try:
            if self.zipped:
                # With the size given, zipfile never decompresses more.
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
            raise ArchiveError(f'{self.container}: {self.name} is truncated: download it again')
        return content


# RuntimeError is raised for encrypted members, NotImplementedError for other compression methods.
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
    """Opens a tar file and decompresses it if needed."""
    file = path.open('rb')
    if file.read(2) != b'\x1f\x8b':
        return file
    file.close()
    limit = min(MAX_DECOMPRESSED, max(_ANY_TAR_RATIO, MAX_RATIO * path.stat().st_size))
    # Seeking backwards in a compressed file means reading it again from its start. It is therefore
    # decompressed to a temporary file, which is deleted when the program ends.
    with contextlib.ExitStack() as on_error:
        content = on_error.enter_context(tempfile.TemporaryFile())
        with (
            gzip.open(path) as compressed,
            tqdm(desc=f'reading {path.name}', unit='B', unit_scale=True, disable=None) as bar,
        ):
            while chunk := compressed.read(2**20):
                bar.update(content.write(chunk))
                if content.tell() > limit:
                    raise ArchiveError(
                        f'{path} decompresses to more than {limit:,} bytes: if you trust it, '
                        f'unpack it and give the folder'
                    )
        on_error.pop_all()
    return content


class _LastOpened:
    """A cache of the archive that was read last, which mostly has the next member, too."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._content: Any = None

    def zip(self, path: Path) -> zipfile.ZipFile:
        """Returns an opened zip file."""
        return self._get(path, zipfile.ZipFile)

    def tar(self, path: Path) -> IO[bytes]:
        """Returns an opened tar file, decompressed if needed."""
        return self._get(path, _open_tar)

    def _get(self, path: Path, open_: Callable[[Path], Any]) -> Any:
        if path != self._path:
            self.close()
            self._path, self._content = path, open_(path)
        return self._content

    def close(self) -> None:
        """Closes the archive, if one is open."""
        if self._path:
            self._content.close()
        self._path = None


_last_opened = _LastOpened()
atexit.register(_last_opened.close)


@dataclasses.dataclass(frozen=True)
class Contents:
    """The wanted files of a source, and a summary of the rest.

    Attributes:
      members: the wanted files, in natural order ('2' before '10').
      others: the number of all other files by lower-case suffix, such as '.txt'.
      folders: the names of all folders and archives, as in the names of members.
    """

    members: list[Member]
    others: Mapping[str, int]
    folders: set[str]


def survey(
    source: Path, pattern: str, *, max_size: int, max_members: int = MAX_MEMBERS
) -> Contents:
    """Finds the files of ``source`` whose name matches, and counts the others.

    Args:
      source: a folder with files or archives at any depth; or an archive: .tar, .tar.gz, .zip, or
        a .tar of .tar files.
      pattern: a regular expression for the end of a name, case-insensitive.
      max_size: the largest allowed size of a file, in bytes.
      max_members: the largest allowed number of files.

    Raises:
      FileNotFoundError: if no file matches.
      ArchiveError: if an archive is damaged; if there are too many or too large files; if a link or
        another special file matches; or if the source has an archive together with its unpacked
        files or with a copy of it.
    """
    if not source.exists():
        raise FileNotFoundError(f'{source} does not exist: check the path')
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
                f'{member.container}: remove one of them'
            )
        members[member.name] = member
        if len(members) > max_members:
            raise ArchiveError(
                f'{source} has more than {max_members:,} files that match *{pattern}'
            )
    if not members:
        there = f': it has {count_endings(others)}' if others else ''
        raise FileNotFoundError(f'no files match *{pattern} in {source}{there}')
    _refuse_copies(source, list(members.values()))
    in_order = sorted(members.values(), key=lambda member: natural_order(member.name))
    return Contents(in_order, others, folders)


def find_members(
    source: Path, pattern: str, *, max_size: int, max_members: int = MAX_MEMBERS
) -> list[Member]:
    """Returns the members that `survey` finds; the arguments are the same."""
    return survey(source, pattern, max_size=max_size, max_members=max_members).members


def count_endings(others: Mapping[str, int]) -> str:
    """Returns the most common suffixes of `Contents.others` as text, such as '12 .tif, 1 .txt'."""
    counted = Counter(others).most_common(8)
    parts = [f'{count:,} {ending or "without a suffix"}' for ending, count in counted]
    return ', '.join(parts + ['…'] * (len(others) > len(counted)))


def _refuse_copies(source: Path, members: list[Member]) -> None:
    """Raises ArchiveError if files are both inside and next to an archive, or in two archives."""
    by_archive: dict[tuple[str, ...], list[Member]] = {}
    for member in members:
        by_archive.setdefault(member.archives, []).append(member)
    for archives, inside in by_archive.items():
        for outer in (archives[:depth] for depth in range(len(archives))):
            if outer in by_archive:
                raise ArchiveError(
                    f'{source} has files in {archives[-1]} ({inside[0].name}) and next to it '
                    f'({by_archive[outer][0].name}): move one of them out of {source}, or pack or '
                    f'unpack all files'
                )
    # Two archives are copies if their files have the same names, sizes and contents.
    seen: dict[tuple[tuple[int, str], ...], list[Member]] = {}
    for archives, inside in by_archive.items():
        if len(archives) != 1:
            continue
        ordered = sorted(inside, key=_size_and_file_name)
        other = seen.setdefault(tuple(map(_size_and_file_name, ordered)), ordered)
        # The largest files are compared first: different archives mostly differ in them.
        if (
            other is not ordered
            and _digests(ordered[-1:]) == _digests(other[-1:])
            and _digests(ordered) == _digests(other)
        ):
            raise ArchiveError(
                f'{archives[0]} and {other[0].archives[0]} in {source} hold the same files: move '
                f'one of them out of it'
            )


def _size_and_file_name(member: Member) -> tuple[int, str]:
    return member.size, member.name.rpartition('/')[2]


def _digests(members: list[Member]) -> list[bytes]:
    return [hashlib.sha256(member.read()).digest() for member in members]


def check_archives(source: Path, md5: Mapping[str, str]) -> None:
    """Compares archives with their published checksums; unpacked files are not checked.

    Args:
      source: one of the archives, or a folder that may contain them.
      md5: the MD5 checksum of each archive, in hexadecimal, by file name.

    Raises:
      ArchiveError: if a checksum differs.
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
                f'{path} has MD5 {digest.hexdigest()}, but the official file has '
                f'{md5[path.name]}: download it again, or unpack it and give the folder if the '
                f'difference is intended'
            )


def locate(source: Path, *names: str) -> Path:
    """Returns the first of some files and folders that ``source`` has.

    Args:
      source: a folder, or one of the files and folders itself, which is then returned.
      *names: the names to look for.

    Raises:
      FileNotFoundError: if ``source`` has none of them.
    """
    if source.name in names and source.exists():
        return source
    for name in names:
        if (source / name).exists():
            return source / name
    raise FileNotFoundError(f'no {" or ".join(names)} in {source}')


def _walk(path: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[Member]:
    """Yields all files and folders except hidden ones and those in hidden folders."""
    if path.is_dir():
        folder = path.resolve()
        if folder in above:
            return  # A link to a folder that contains it.
        for child in sorted(path.iterdir()):
            name = prefix + printable(child.name)
            if is_hidden(child.name):
                continue
            if child.is_dir():
                yield Member(f'{name}/', 0, 0, child)
                yield from _walk(child, f'{name}/', (*above, folder))
            elif not child.is_file():
                yield Member(name, 0, 0, path, problem='is a broken link or not a file')
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
    'is a link or not a file: pack the files themselves (zip without --symlinks; tar with '
    '--dereference --hard-dereference)'
)


def _walk_zip(path: Path, prefix: str, archive: str) -> Iterator[Member]:
    status = path.stat()
    for info in _last_opened.zip(path).infolist():
        name, problem = info.filename, ''
        if not info.flag_bits & 0x800:
            # macOS writes UTF-8 names without setting the flag for UTF-8.
            with contextlib.suppress(UnicodeError):
                name = name.encode('cp437').decode()
        if info.create_system == 0:  # Some programs for Windows write backslashes.
            name = name.replace('\\', '/')
        # Archives that were packed on Unix have the type of the file here.
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = _NO_FILE
        elif info.file_size > max(_ANY_RATIO, MAX_RATIO * min(info.compress_size, status.st_size)):
            problem = (
                f'decompresses to {info.file_size:,} bytes, more than {MAX_RATIO} times its '
                f'compressed size, which no photo or recording does'
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
    """Yields the members of an archive and of the archives in it; deeper ones stay packed."""
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
