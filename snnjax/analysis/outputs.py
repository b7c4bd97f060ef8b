"""Files that commands write where they are told to: tables, figures, pages."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

from snnjax.paths import in_bucket


def write_output(path: Path, content: str | bytes) -> None:
    """Writes a file, whole or not at all, and makes its folder if it is missing.

    What is no regular file, such as ``/dev/stdout``, is written to as it is.

    Args:
      path: path of the file.
      content: bytes, or text, which is written as UTF-8.

    Raises:
      OSError: if it cannot be written; a file of this name is then as it was.
    """
    # Names of folders that are not UTF-8 come back as the bytes that they were.
    data = content.encode(errors='surrogateescape') if isinstance(content, str) else content
    try:
        if in_bucket(path):
            path.write_bytes(data)
        elif path == Path('/dev/stdout'):
            # Opened anew, a file behind it would be written over.
            sys.stdout.flush()
            with os.fdopen(os.dup(1), 'wb') as file:
                file.write(data)
        elif path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(path, data)
    except OSError as error:
        # Of the file that was asked for, not of a temporary one.
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, data: bytes) -> None:
    # What a link stands for is replaced, not the link.
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, since others may write beside it, from other machines, too.
    temporary = target.with_name(f'.{target.name[:100]}.{secrets.token_hex(8)}')
    try:
        with temporary.open('xb') as file:
            file.write(data)
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
