"""File names as written by people, operating systems and archives."""

from __future__ import annotations

import re

PHOTO = r'\.(?:jpe?g|jpe|jfif|jif|png|webp|bmp|dib|gif)'
"""A regular expression for the suffixes of photos, in lower case."""

RECORDING = r'\.(?:aedat|bin)'
"""A regular expression for the suffixes of event recordings, in lower case."""

_ARCHIVE = re.compile(r'\.(?:zip|tar|tar\.gz|tgz)$', re.IGNORECASE)
# Lower-case names without a leading dot, of macOS, Synology, Windows (two) and Linux.
_OF_SYSTEMS = {'__macosx', '@eadir', '$recycle.bin', 'system volume information', 'lost+found'}


def is_archive(name: str) -> bool:
    """Returns true if a file name is that of a supported archive."""
    return bool(_ARCHIVE.search(name))


def without_suffix(archive: str) -> str:
    """Returns the name of an archive without its suffix, as the name of a folder."""
    return _ARCHIVE.sub('', archive)


def printable(name: str) -> str:
    r"""Returns a name with bytes that are not UTF-8 written as escapes, as in ``caf\xe9.jpg``."""
    return name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')


def is_hidden(path: str) -> bool:
    """Returns true if a part of a path begins with a dot or is made by an operating system."""
    return any(
        (part.startswith('.') and part not in ('.', '..')) or part.lower() in _OF_SYSTEMS
        for part in path.split('/')
    )


def plain_path(path: str) -> str:
    """Returns the path of a member of an archive without './', '//' and a leading '/'."""
    return '/'.join(part for part in printable(path).split('/') if part not in ('', '.'))
