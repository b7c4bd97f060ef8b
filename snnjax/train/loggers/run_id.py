"""What a work directory is called by services, in whichever order a run is continued."""

from __future__ import annotations

import uuid
from pathlib import Path

from snnjax.files import write_whole

PROJECT = 'snnjax'


ID_FILE = 'run_id'


def run_id(workdir: Path) -> str:
    """The id of a work directory, the same whenever it is asked for."""
    path = workdir / ID_FILE
    if not path.exists():
        write_whole(path, uuid.uuid4().hex[:8] + '\n')
    return path.read_text().strip()
