"""The ID of a work directory, by which services recognize a resumed run."""

from __future__ import annotations

import uuid
from pathlib import Path

from snnjax.files import write_whole

PROJECT = 'snnjax'


ID_FILE = 'run_id'


def run_id(workdir: Path) -> str:
    """Returns the ID of a work directory, which is created once and then stays."""
    path = workdir / ID_FILE
    if not path.exists():
        write_whole(path, uuid.uuid4().hex[:8] + '\n')
    return path.read_text().strip()
