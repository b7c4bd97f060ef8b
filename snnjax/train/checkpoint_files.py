"""How checkpoints become complete on a file system and in a bucket, and how they are removed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from orbax.checkpoint.path import atomicity

from snnjax.files import sync_tree
from snnjax.paths import in_bucket, sync
from snnjax.train.lease import lease_token
from snnjax.weights.steps import METADATA_FILE, checkpoint_steps, is_step_name


def durable(
    beside: Sequence[Path], then: Callable[[], None]
) -> type[atomicity.AtomicRenameTemporaryPath]:
    """Returns the way a checkpoint becomes complete: on the disk before and after its renaming.

    Args:
      beside: the files that have to be on the disk, too.
      then: the function to call once that is so.
    """

    class Durable(atomicity.AtomicRenameTemporaryPath):
        async def finalize(self) -> None:
            for path in beside:
                with contextlib.suppress(FileNotFoundError):
                    sync(path)
            sync_tree(self.get())
            await super().finalize()  # Which adds a file.
            sync_tree(self.get_final())
            sync(self.get_final().parent)
            then()

    return Durable


def committed(
    check: Callable[[], None], then: Callable[[], None]
) -> type[atomicity.CommitFileTemporaryPath]:
    """Returns the way a checkpoint in a bucket becomes complete: by what is written last.

    Args:
      check: the function to call before that, which raises an error if it must not become so.
      then: the function to call once it is.
    """

    class Committed(atomicity.CommitFileTemporaryPath):
        async def finalize(self) -> None:
            check()
            await super().finalize()
            then()

    return Committed


def remove(folder: Path) -> None:
    """Removes a checkpoint; if this is cut short, what is left of it in a bucket is none."""
    if in_bucket(folder):
        (folder / METADATA_FILE).unlink(missing_ok=True)
        cast(Any, folder).rmtree(missing_ok=True)
    else:
        shutil.rmtree(folder)


def tidy(directory: Path) -> Iterator[Path]:
    """Removes checkpoints that were left unfinished, and sets aside what only has their name.

    Args:
      directory: the folder of the checkpoints.

    Yields:
      The paths that are set aside.
    """
    for path in _entries(directory):
        if atomicity.TMP_DIR_SUFFIX in path.name:
            with contextlib.suppress(OSError):
                remove(path)
    complete = checkpoint_steps(directory)
    for path in _entries(directory):
        if not is_step_name(path.name) or int(path.name) in complete:
            continue
        if in_bucket(path):
            # An unfinished checkpoint has its final name there.
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
    """Gives a file or folder another name, under which it does not count, and is not removed."""
    number, free = 1, path.with_name(f'{path.name}.unreadable')
    while free.exists():
        number += 1
        free = path.with_name(f'{path.name}.unreadable{number}')
    path.rename(free)


def identity(path: Path) -> tuple[int, int] | str | None:
    """Returns what tells a folder from another one of its name; None if there is none."""
    if in_bucket(path):
        return lease_token(path)
    try:
        found = os.stat(path)  # noqa: PTH116  Not that of etils, which has no inodes.
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
