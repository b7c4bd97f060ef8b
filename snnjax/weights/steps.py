"""The checkpoints of a run, by step."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from snnjax.errors import WeightsError
from snnjax.files import for_orbax

METADATA_FILE = '_CHECKPOINT_METADATA'
"""The file of a checkpoint in which Orbax notes that it is complete."""


def checkpoint_steps(directory: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder, in order.

    Unfinished checkpoints and corrupt ones that were set aside have other names.
    """
    try:
        folders = [path for path in directory.iterdir() if is_step_name(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(path.name) for path in folders if _is_checkpoint(path))


def _is_checkpoint(folder: Path) -> bool:
    # An empty folder is not a checkpoint.
    return folder.is_dir() and any(folder.iterdir()) and not is_unfinished(folder)


def is_unfinished(folder: Path) -> bool:
    """Returns whether a checkpoint is known to be unfinished.

    A bucket cannot rename a folder, so a checkpoint has its name there from the start, and in a
    copy of the bucket. Orbax writes the commit time last. Older checkpoints have none, and no file
    for it.

    Raises:
      OSError: if a bucket cannot be read.
    """
    try:
        metadata = json.loads((folder / METADATA_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    match metadata:
        case {'init_timestamp_nsecs': int(), 'commit_timestamp_nsecs': None}:
            return True
    return False


def is_step_name(name: str) -> bool:
    """Returns whether a name is a step in ASCII digits without leading zeros."""
    return re.fullmatch('0|[1-9][0-9]*', name) is not None


def find_checkpoint(directory: Path, which: str | int = 'newest') -> int:
    """Returns the step of a checkpoint of a run.

    Args:
      directory: the folder of checkpoints.
      which: the name 'newest', 'best' (by `best_step`), or a step, as an int or its digits.

    Raises:
      WeightsError: if there is no such checkpoint; the message lists those that exist.
    """
    steps = checkpoint_steps(directory)
    best = best_step({step: read_evaluation(directory / str(step)) for step in steps})
    named = {'newest': steps[-1]} if steps else {}
    if best is not None:
        named['best'] = best
    text = str(which)
    if text in named:
        return named[text]
    if text in map(str, steps):
        return int(text)
    raise WeightsError(
        f'{directory} has no checkpoint {text!r}; there '
        + (f'are {", ".join([*named, *map(str, steps)])}' if steps else 'is none')
    )


def best_step(evaluations: Mapping[int, Mapping[str, float] | None]) -> int | None:
    """Returns the step with the highest `score`, the latest of equals; None if none has a score.

    Args:
      evaluations: the metrics ``eval/...`` by step; None for a step without an evaluation.
    """
    scores = {step: score(values) for step, values in evaluations.items() if values}
    finite = [step for step, value in scores.items() if math.isfinite(value)]
    return max(finite, key=lambda step: (scores[step], step), default=None)


def score(evaluation: Mapping[str, float]) -> float:
    """Returns the score of an evaluation: the accuracy, or -inf if the loss is not finite."""
    finite = math.isfinite(evaluation.get('eval/loss', 0.0))
    return evaluation['eval/accuracy'] if finite else -math.inf


def read_evaluation(checkpoint: Path) -> dict[str, float] | None:
    """Returns the evaluation of a checkpoint; None if there is none, or if it is damaged.

    Args:
      checkpoint: the folder of the checkpoint.
    """
    try:
        evaluation = json.loads((checkpoint / 'metrics' / 'metrics').read_text())
    except (OSError, ValueError):
        return None
    match evaluation:
        case {'eval/accuracy': float() | int()}:
            return evaluation
    return None


def read_metadata(path: Path) -> dict[str, Any]:
    """Returns the shape and dtype of each array in a checkpoint, without reading the arrays."""
    return dict(ocp.PyTreeCheckpointHandler().metadata(for_orbax(path)).tree)
