"""Writing of output files: tables, figures and pages."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

from snnjax.paths import in_bucket


def write_output(path: Path, content: str | bytes) -> None:
    """Writes a file atomically and creates its folder if it is missing.

    A path that is not a regular file, such as ``/dev/stdout``, is written in place.

    Args:
      path: the path of the file.
      content: the bytes, or text to write as UTF-8.

    Raises:
      OSError: if the file cannot be written; an existing file then keeps its content.
    """
    # Folder names that are not UTF-8 are in the text as surrogates and become their bytes again.
    data = content.encode(errors='surrogateescape') if isinstance(content, str) else content
    try:
        if in_bucket(path):
            path.write_bytes(data)
        elif path == Path('/dev/stdout'):
            # If stdout is redirected to a file, opening the path again would overwrite that file.
            sys.stdout.flush()
            with os.fdopen(os.dup(1), 'wb') as file:
                file.write(data)
        elif path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(path, data)
    except OSError as error:
        # The message names the requested file, not the temporary one.
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, data: bytes) -> None:
    # The target of a link is replaced, not the link.
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    # The random name is unique, because other processes and machines may write the same file.
    temporary = target.with_name(f'.{target.name[:100]}.{secrets.token_hex(8)}')
    try:
        with temporary.open('xb') as file:
            file.write(data)
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
