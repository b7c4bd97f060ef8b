"""The argparse types of paths, which report a wrong path before the work begins."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from snnjax.errors import PathError
from snnjax.paths import expand, in_bucket


def folder_name(text: str) -> str:
    """Returns the path of a folder as text, expanded by `snnjax.paths.expand`."""
    return str(expand(text))


def local_path(text: str) -> Path:
    """Returns the path that an argument names; see `snnjax.paths.expand`.

    Raises:
      PathError: if it is in a bucket, or invalid.
    """
    path = expand(text)
    if in_bucket(path):
        raise PathError(f'{text} must be on a file system: copy it with gcloud storage cp')
    return path


def output_file(text: str) -> Path:
    """Returns the path of a file that can be written.

    The folder of the file may be missing; it is created when the file is written.

    Raises:
      PathError: if the path is a folder or cannot be written.
    """
    path = local_path(text)
    with _refused(text):
        if path.is_dir() or text.endswith('/'):
            raise PathError(f'{text or "."} is a folder: name a file in it')
        _try_to_write(path)
    return path


def output_path(text: str) -> Path:
    """Returns the path of a file or folder that can be written.

    Raises:
      PathError: if the path cannot be written.
    """
    path = local_path(text)
    with _refused(text):
        _try_to_write(path / 'file' if path.is_dir() else path)
    return path


def figure_file(text: str) -> Path:
    """Returns the path of a figure that can be drawn and written.

    Raises:
      PathError: if matplotlib is missing or does not know the file extension, or if the path is a
        folder or cannot be written.
    """
    path = output_file(text)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PathError("figures need matplotlib: pip install 'snnjax[plots]'") from None
    known = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.lower().removeprefix('.') not in known:
        raise PathError(f'{text} must end in one of .{", .".join(known)}')
    return path


@contextlib.contextmanager
def _refused(text: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shown = text if len(text) <= 100 else f'{text[:60]}…{text[-20:]}'
        raise PathError(f'{shown} cannot be written: {error.strerror}') from None


def _try_to_write(path: Path) -> None:
    """Checks that a file can be written, without leaving anything behind.

    Raises:
      OSError: if the file cannot be written.
    """
    if os.path.lexists(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    folder, missing = _split(path.absolute())
    for name in missing:
        # lstat fails if a name is too long for the file system.
        with contextlib.suppress(FileNotFoundError):
            (folder / name).lstat()
    # The folder of a device such as /dev/stdout need not be writable.
    if path.is_file() or not path.exists():
        with tempfile.TemporaryFile(dir=folder):
            pass


def _split(path: Path) -> tuple[Path, list[str]]:
    """Returns the nearest existing parent folder of a path, and the missing names (last first)."""
    missing = [path.name]
    folder = path.parent
    while not os.path.lexists(folder):
        missing.append(folder.name)
        folder = folder.parent
    return folder, missing
