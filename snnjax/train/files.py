"""Files of a run, and of all of them."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replaces a file so that it is never seen half written."""
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(text)
    temporary.replace(path)


def compilation_cache() -> Path:
    """The folder of programs that were compiled before."""
    given = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    home = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return Path(given or f'{home}/snnjax').expanduser()
