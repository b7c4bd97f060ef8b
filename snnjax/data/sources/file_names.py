"""Names of files, as people, operating systems and archives write them."""

from __future__ import annotations

import re

PHOTO = r'\.(?:jpe?g|jpe|jfif|jif|png|webp|bmp|dib|gif)'
"""Endings of photos, in any case."""

RECORDING = r'\.(?:aedat|bin)'
"""Endings of recordings of events, in any case."""

_ARCHIVE = re.compile(r'\.(?:zip|tar|tar\.gz|tgz)$', re.IGNORECASE)
# Beside what begins with a dot, in lower case: macOS, Synology, Windows twice, Linux.
_OF_SYSTEMS = {'__macosx', '@eadir', '$recycle.bin', 'system volume information', 'lost+found'}


def is_archive(name: str) -> bool:
    """Returns whether a file is an archive that is read, by its name."""
    return bool(_ARCHIVE.search(name))


def without_suffix(archive: str) -> str:
    """Returns the name of an archive as that of a folder."""
    return _ARCHIVE.sub('', archive)


def printable(name: str) -> str:
    r"""Returns a name with the bytes that are not UTF-8 as text, such as ``caf\xe9.jpg``."""
    return name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')


def is_hidden(path: str) -> bool:
    """Returns whether a part of a path begins with a dot, or is one of an operating system."""
    return any(
        (part.startswith('.') and part not in ('.', '..')) or part.lower() in _OF_SYSTEMS
        for part in path.split('/')
    )


def plain_path(path: str) -> str:
    """Returns the path of a member of an archive without './', '//' and a leading '/'."""
    return '/'.join(part for part in printable(path).split('/') if part not in ('', '.'))
