"""What this user has trained with or given on this machine: folders of data, modules.

Weights say where the data of their training was, and which modules they need. What somebody else's
weights name is not opened unasked, but nobody should have to repeat what belongs to a training of
their own, or to give the folder of the same weights again and again. So both are noted in files
that no weights can write, as SSH notes the hosts that it knows.
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
    """Tells if this user has trained with something of this name."""
    return name in _noted(kind)


def note(kind: Kind, name: str) -> None:
    """Adds what this user trains with to what is known.

    Where the file cannot be written nothing is noted: a flag is needed then.
    """
    if is_noted(kind, name):
        return
    with contextlib.suppress(OSError, UserError, ValueError):
        path = _file(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line is short enough to be written whole, also by several runs at once.
        with path.open('a') as file:
            file.write(json.dumps(name) + '\n')


def is_known_folder(folder: str, default: str) -> bool:
    """Tells if a folder of data is the default one, or one that this user has noted."""
    try:
        resolved = _resolved(folder)
        return resolved == _resolved(default) or is_noted('data_folders', resolved)
    except (UserError, ValueError):
        return False  # A path that cannot be.


def note_if_same(given: str, named: str) -> None:
    """Adds a folder of data that weights name if the user gives it as well: that is an answer."""
    with contextlib.suppress(UserError, ValueError):
        if _resolved(given) == _resolved(named):
            note_folder(given)


def note_folder(folder: str) -> None:
    """Adds a folder of data to those that this user has trained from."""
    with contextlib.suppress(UserError, ValueError):
        note('data_folders', _resolved(folder))


def _file(kind: Kind) -> Path:
    home = os.environ.get('XDG_STATE_HOME') or '~/.local/state'
    return expand(home) / 'snnjax' / f'{kind}.jsonl'


def _noted(kind: Kind) -> set[str]:
    names = set()
    # Whatever is damaged there only costs a flag.
    with contextlib.suppress(OSError, UserError, UnicodeDecodeError):
        for line in _file(kind).read_text().splitlines():
            with contextlib.suppress(ValueError):
                names.add(str(json.loads(line)))
    return names


def _resolved(folder: str) -> str:
    return str(expand(folder).resolve())
