"""Paths that a user gives."""

from __future__ import annotations

import argparse
from pathlib import Path

from snnjax.errors import UserError


class PathError(UserError, ValueError, argparse.ArgumentTypeError):
    """A path that cannot be used; the message says why, also as that of an argument."""


def expand(path: str | Path) -> Path:
    """Returns a path with the home folder in the place of ``~`` or ``~user``.

    Raises:
      PathError: if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PathError(f'{path}: there is no user of this name') from error
