"""The data folders that this user has trained from on this machine.

Weights say where the data of their training was. A folder that somebody else's weights name is not
opened unasked, but nobody should have to repeat the folder of a training of their own. So training
notes its folders in a file that no weights can write, as SSH notes the hosts that it knows.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from snnjax.data import DataOptions
from snnjax.errors import UserError
from snnjax.paths import expand


def is_known(folder: str) -> bool:
    """Tells if a data folder is the default one, or one that this user has trained from."""
    try:
        return _resolved(folder) in {_resolved(DataOptions.dir), *_noted()}
    except (UserError, ValueError):
        return False  # A path that cannot be.


def note(folder: str) -> None:
    """Adds a data folder to those that this user has trained from.

    Where the file cannot be written nothing is noted: --data_dir is needed then.
    """
    if is_known(folder):
        return
    with contextlib.suppress(OSError, UserError, ValueError):
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line is short enough to be written whole, also by several runs at once.
        with path.open('a') as file:
            file.write(json.dumps(_resolved(folder)) + '\n')


def _file() -> Path:
    home = os.environ.get('XDG_STATE_HOME') or '~/.local/state'
    return expand(home) / 'snnjax' / 'data_folders.jsonl'


def _noted() -> set[str]:
    folders = set()
    # Whatever is damaged there only costs a flag.
    with contextlib.suppress(OSError, UserError, UnicodeDecodeError):
        for line in _file().read_text().splitlines():
            with contextlib.suppress(ValueError):
                folders.add(str(json.loads(line)))
    return folders


def _resolved(folder: str) -> str:
    return str(expand(folder).resolve())
