"""Files that commands write where they are told to: tables, figures, pages."""

from __future__ import annotations

import os
from pathlib import Path


def write_output(path: Path, content: str | bytes) -> None:
    """Writes a file, whole or not at all, and makes its folder if it is missing.

    What is no regular file, such as ``/dev/stdout``, is written to as it is.

    Args:
      path: of the file.
      content: bytes, or text, which is written as UTF-8.

    Raises:
      OSError: if it cannot be written; a file of this name is then as it was.
    """
    # Names of folders that are not UTF-8 come back as the bytes that they were.
    data = content.encode(errors='surrogateescape') if isinstance(content, str) else content
    if path.parts[:2] == ('/', 'dev') or (path.exists() and not path.is_file()):
        with path.open('ab') as file:
            file.write(data)
        return
    # What a link stands for is replaced, not the link.
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # Of the file that was asked for, not of the temporary one.
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
