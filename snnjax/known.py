"""Data folders and modules that this user has trained with, noted on this machine.

Weights name the data folder of their training and the modules that they need. Names in somebody
else's weights are not opened without a flag. Names that this user has trained with need no flag:
they are noted in files that weights cannot write, as SSH notes known hosts.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Literal

from snnjax.errors import UserError
from snnjax.paths import expand

Kind = Literal['data_folders', 'modules']


def is_noted(kind: Kind, name: str) -> bool:
    """Returns whether this user has trained with something of this name."""
    return name in _noted(kind)


def note(kind: Kind, name: str) -> None:
    """Notes a name that this user trains with.

    If the file cannot be written, nothing is noted, and a flag is needed the next time.
    """
    if is_noted(kind, name):
        return
    with contextlib.suppress(OSError, UserError, ValueError):
        path = _file(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line is short enough to be written atomically, even by several runs at once.
        with path.open('a') as file:
            file.write(json.dumps(name) + '\n')


def is_known_folder(folder: str, default: str) -> bool:
    """Returns whether a data folder is the default one, or one that this user has noted."""
    try:
        resolved = _resolved(folder)
        return resolved == _resolved(default) or is_noted('data_folders', resolved)
    except (UserError, ValueError):
        return False  # The path is invalid.


def note_if_same(given: str, named: str) -> None:
    """Notes the data folder that weights name if the user gives the same folder."""
    with contextlib.suppress(UserError, ValueError):
        if _resolved(given) == _resolved(named):
            note_folder(given)


def note_folder(folder: str) -> None:
    """Notes a data folder that this user has trained from."""
    with contextlib.suppress(UserError, ValueError):
        note('data_folders', _resolved(folder))


def _file(kind: Kind) -> Path:
    home = os.environ.get('XDG_STATE_HOME') or '~/.local/state'
    return expand(home) / 'snnjax' / f'{kind}.jsonl'


def _noted(kind: Kind) -> set[str]:
    names = set()
    # Damage in the file costs no more than a flag.
    with contextlib.suppress(OSError, UserError, UnicodeDecodeError):
        for line in _file(kind).read_text().splitlines():
            with contextlib.suppress(ValueError):
                names.add(str(json.loads(line)))
    return names


def _resolved(folder: str) -> str:
    return str(expand(folder).resolve())
