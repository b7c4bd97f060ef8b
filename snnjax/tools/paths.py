"""Paths on the command line, as argparse types: what is wrong with one is said before the work."""

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
    """Returns the folder that an argument names as text; see `snnjax.paths.expand`."""
    return str(expand(text))


def output_file(text: str) -> Path:
    """Returns the path of a file that can be written; its folder may be missing, and is made later.

    Raises:
      PathError: for a folder, or what cannot be written.
    """
    path = expand(text)
    if in_bucket(path):
        return path
    with _refused(text):
        if path.is_dir() or text.endswith('/'):
            raise PathError(f'{text or "."} is a folder: name a file in it')
        _try_to_write(path)
    return path


def output_path(text: str) -> Path:
    """Returns the path of a file or folder that can be written; see `output_file`."""
    path = expand(text)
    if in_bucket(path):
        return path
    with _refused(text):
        _try_to_write(path / 'file' if path.is_dir() else path)
    return path


def figure_file(text: str) -> Path:
    """Returns the path of a figure that can be drawn and written; see `output_file`.

    Raises:
      PathError: also without matplotlib, or for an ending that it does not know.
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
    """Finds out whether a file could be written, and leaves nothing behind.

    Raises:
      OSError: if it cannot.
    """
    if os.path.lexists(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    folder, missing = _split(path.absolute())
    for name in missing:
        # A name may be too long for the file system.
        with contextlib.suppress(FileNotFoundError):
            (folder / name).lstat()
    # A device, such as /dev/stdout, is in a folder that need not be written to.
    if path.is_file() or not path.exists():
        with tempfile.TemporaryFile(dir=folder):
            pass


def _split(path: Path) -> tuple[Path, list[str]]:
    """Returns the folder nearest to a path that is there, and the names that follow it."""
    missing = [path.name]
    folder = path.parent
    while not os.path.lexists(folder):
        missing.append(folder.name)
        folder = folder.parent
    return folder, missing
