"""Finalization and removal of checkpoints on a file system and in a bucket."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orbax.checkpoint.path import atomicity

from snnjax.buckets import BucketPath
from snnjax.files import sync_tree
from snnjax.paths import in_bucket, sync
from snnjax.weights.steps import METADATA_FILE, checkpoint_steps, is_step_name, is_unfinished


def durable(
    beside: Sequence[Path], then: Callable[[], None]
) -> type[atomicity.AtomicRenameTemporaryPath]:
    """Returns a class that completes a checkpoint: it is synced before and after its renaming.

    Args:
      beside: the other files that have to be on disk first.
      then: a function that is called once the checkpoint is complete.
    """

    class Durable(atomicity.AtomicRenameTemporaryPath):
        async def finalize(self) -> None:
            for path in beside:
                with contextlib.suppress(FileNotFoundError):
                    sync(path)
            sync_tree(self.get())
            await super().finalize()  # This adds a file.
            sync_tree(self.get_final())
            sync(self.get_final().parent)
            then()

    return Durable


def committed(
    check: Callable[[], None], then: Callable[[], None]
) -> type[atomicity.CommitFileTemporaryPath]:
    """Returns a class that completes a checkpoint in a bucket by an object that is written last.

    Args:
      check: a function that is called first, and raises an error to keep it incomplete.
      then: a function that is called once the checkpoint is complete.
    """

    class Committed(atomicity.CommitFileTemporaryPath):
        async def finalize(self) -> None:
            check()
            await super().finalize()
            then()

    return Committed


def remove(folder: Path) -> None:
    """Removes a checkpoint; what an interruption leaves in a bucket is known to be unfinished."""
    if not isinstance(folder, BucketPath):
        shutil.rmtree(folder)
        return
    mark = {'init_timestamp_nsecs': 0, 'commit_timestamp_nsecs': None}
    (folder / METADATA_FILE).write_text(json.dumps(mark))
    folder.rmtree(missing_ok=True, last=[METADATA_FILE])


def tidy(directory: Path) -> Iterator[Path]:
    """Removes unfinished checkpoints, and renames other files with the name of a checkpoint.

    Args:
      directory: the folder of the checkpoints.

    Yields:
      Each path that is renamed.
    """
    for path in _entries(directory):
        if atomicity.TMP_DIR_SUFFIX in path.name:
            with contextlib.suppress(OSError):
                remove(path)
    complete = checkpoint_steps(directory)
    for path in _entries(directory):
        if not is_step_name(path.name) or int(path.name) in complete:
            continue
        if in_bucket(path) and is_unfinished(path):
            # In a bucket, an unfinished checkpoint has its final name.
            remove(path)
        else:
            yield path
            set_aside(path)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []  # A bucket has no empty folders.


def set_aside(path: Path) -> None:
    """Renames a file or folder, so that it neither counts as a checkpoint nor is removed."""
    number, free = 1, path.with_name(f'{path.name}.unreadable')
    while free.exists():
        number += 1
        free = path.with_name(f'{path.name}.unreadable{number}')
    path.rename(free)


def identity(path: Path) -> tuple[int, int] | None:
    """Returns an identity that a recreated folder of this name would not have; None if missing."""
    try:
        found = os.stat(path)  # noqa: PTH116  Not that of etils, which has no inodes.
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
