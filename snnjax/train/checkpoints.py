"""Checkpoints of a run, written in the background."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from snnjax.buckets import is_outage
from snnjax.errors import EXIT_FAILED, UserError
from snnjax.files import for_orbax
from snnjax.models.params import by_name
from snnjax.paths import in_bucket
from snnjax.train import processes
from snnjax.train.checkpoint_files import committed, durable, identity, remove, set_aside, tidy
from snnjax.train.lease import may_write
from snnjax.train.progress import warn
from snnjax.train.state import TrainState
from snnjax.weights.steps import (
    best_step,
    checkpoint_steps,
    read_evaluation,
    read_metadata,
)


class CheckpointError(UserError):
    """Checkpoints that cannot be read or written, or belong to another model."""


class CheckpointWriteError(CheckpointError):
    """A checkpoint that could not be written, for example because the disk is full."""

    exit_status = EXIT_FAILED


class Restored(NamedTuple):
    """The content of a checkpoint: step, state, and the position of the data and the metrics."""

    step: int
    state: TrainState
    position: dict[str, Any]


class Checkpoints:
    """The checkpoints of a work directory: the newest few, and the best one.

    A checkpoint holds the state and the position in the data. It counts only once it is complete
    and on disk, so a crash or a power loss does not affect earlier checkpoints. Use this class as a
    context manager; leaving it waits until the last checkpoint is written.

    Args:
      directory: the folder of the checkpoints in the work directory, created if it is missing.
      keep: the number of newest checkpoints to keep, see `kept`.
      is_due: a function that returns whether every run writes a checkpoint at a given step, even if
        it is not stopped there.
      beside: the files that also have to be on disk before a checkpoint counts.
    """

    def __init__(
        self,
        directory: Path,
        keep: int,
        is_due: Callable[[int], bool] = lambda step: True,
        beside: Sequence[Path] = (),
    ) -> None:
        directory = directory.absolute()
        self._directory = cast(Path, for_orbax(directory))
        self._keep = keep
        self._is_due = is_due
        self._superseded: set[int] = set()
        self._begun = time.monotonic()
        if processes.is_first():
            directory.mkdir(parents=True, exist_ok=True)
            for path in tidy(directory):
                _say(f'{path} is no checkpoint: it is set aside')
        _wait_for_all('tidied')
        self._workdir = None if in_bucket(directory) else identity(self._directory.parent)
        self._evaluations = _read_evaluations(self._directory)
        self._checkpointer = ocp.AsyncCheckpointer(
            ocp.CompositeCheckpointHandler(
                'state', 'position', metrics=ocp.JsonCheckpointHandler(filename='metrics')
            ),
            temporary_path_class=committed(self._check_workdir, self._remove_superseded)
            if in_bucket(directory)
            else durable(beside, self._remove_superseded),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            with self._writing():
                self._checkpointer.close()
        elif jax.process_count() == 1:
            # With several processes, closing could wait for one that has died.
            with contextlib.suppress(Exception):  # The first error is the one to report.
                self._checkpointer.close()

    def save(
        self,
        step: int,
        state: TrainState,
        position: dict[str, Any],
        evaluation: dict[str, float] | None = None,
    ) -> None:
        """Starts to write a checkpoint; returns once the buffers of ``state`` may be donated.

        Args:
          step: the step of the checkpoint. An existing checkpoint of this step is left as it is.
          state: the state to save.
          position: the position of the data and the metrics, plain numbers by name.
          evaluation: the metrics of this state, or None. The checkpoint with the highest
            ``eval/accuracy`` is kept.

        Raises:
          CheckpointWriteError: if this checkpoint or the previous one cannot be written.
        """
        self._begun = time.monotonic()
        if step in self._evaluations:
            return
        items: dict[str, Any] = {
            'state': ocp.args.StandardSave(_fields(state)),
            'position': ocp.args.JsonSave(position),
        }
        if evaluation:
            items['metrics'] = ocp.args.JsonSave(evaluation)
        with self._writing():
            self._checkpointer.wait_until_finished()
            self._check_workdir()
            evaluations = self._evaluations | {step: evaluation}
            self._superseded = evaluations.keys() - kept(evaluations, self._keep, self._is_due)
            self._checkpointer.save(self._directory / str(step), args=ocp.args.Composite(**items))
        self._evaluations = {s: e for s, e in evaluations.items() if s not in self._superseded}

    def are_due(self, every_minutes: float) -> bool:
        """Returns whether the last checkpoint, or this run, began so long ago; 0 for never."""
        return 0 < every_minutes * 60 <= time.monotonic() - self._begun

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        # Orbax, TensorStore and the system raise many kinds of errors for a full or missing disk.
        except Exception as error:
            if jax.process_count() > 1 and processes.is_peer_failure(error):
                raise
            self._check_workdir()
            try:
                good = checkpoint_steps(self._directory)
            except OSError:
                good = []
            raise CheckpointWriteError(
                f'a checkpoint cannot be written to {self._directory}: {_first_line(error)}\n'
                + (f'the last good one is of step {good[-1]}' if good else 'no other is found')
                + ('\nmake room, and' if _is_full(error) else '\nonce it can be,')
                + ' the same command resumes the run'
            ) from error

    def _check_workdir(self) -> None:
        """Raises CheckpointWriteError if the work directory is gone or another command's."""
        workdir = self._directory.parent
        if in_bucket(workdir):
            if not may_write(workdir):
                raise CheckpointWriteError(
                    f'the lease of {workdir} was lost, and another command may have taken over: if '
                    'none has, the same command resumes the run'
                )
        # Orbax would recreate it.
        elif identity(workdir) != self._workdir:
            raise CheckpointWriteError(
                f'the work directory {workdir} was renamed or removed while training wrote to '
                'it: put it back, or give its new name as --workdir; the same command then resumes '
                'from its last checkpoint'
            )

    def _remove_superseded(self) -> None:
        """Removes superseded checkpoints, and warns about those that cannot be removed."""
        for step in sorted(self._superseded):
            try:
                remove(self._directory / str(step))
            except OSError as error:
                _say(f'the old checkpoint of step {step} cannot be removed: {_first_line(error)}')

    def steps(self) -> list[int]:
        """Waits until all checkpoints are written, and returns their steps."""
        with self._writing():
            self._checkpointer.wait_until_finished()
        return sorted(self._evaluations)

    def restore_newest(
        self, like: Callable[[int], TrainState], within: range | None = None
    ) -> Restored | None:
        """Restores the newest checkpoint that all processes can read; None if there is none at all.

        Checkpoints that cannot be read are reported, and renamed to ``STEP.unreadable``.

        Args:
          like: a function of the checkpoint's step that returns a template of the state, with a
            ``jax.ShapeDtypeStruct`` and its sharding for each array.
          within: the range of steps to consider; None for all.

        Raises:
          CheckpointError: if a checkpoint belongs to another model or optimizer, or none can be
            read.
        """
        left = [step for step in self.steps() if within is None or step in within]
        newest, unreadable = left, dict[int, str]()
        while (step := _newest_of_all(left)) is not None:
            restored, reason = self._try(step, like)
            if _all_agree(restored is not None):
                self._pass_over([s for s in newest if s > step], unreadable, step)
                return restored
            unreadable[step] = reason
            left = [s for s in left if s < step]
        if unreadable:
            raise CheckpointError(
                f'no checkpoint in {self._directory} can be read:\n  '
                + '\n  '.join(f'step {step}: {reason}' for step, reason in unreadable.items())
                + '\nPut back a copy of one, or give another --workdir to begin anew.'
            )
        return None

    def _try(self, step: int, like: Callable[[int], TrainState]) -> tuple[Restored | None, str]:
        """Returns the content of a checkpoint, or None, and a reason why it cannot be read."""
        try:
            found = self._described(step)
            form = like(step)
            self._check_form(step, found, form)
            return Restored(step, *self.restore(step, form)), 'another process cannot read it'
        except CheckpointError:
            raise
        # Orbax and TensorStore raise many kinds of errors for damaged files.
        except Exception as error:
            reason = _first_line(error)
            if in_bucket(self._directory) and any(map(is_outage, processes.causes(error))):
                raise CheckpointError(
                    f'the checkpoint of step {step} in {self._directory} cannot be read now: '
                    f'{reason}\nonce it can be, the same command resumes the run'
                ) from error
            # The first process reports its own reason in `_pass_over`.
            if not processes.is_first():
                index = jax.process_index()
                warn(f'process {index} cannot read the checkpoint of step {step}: {reason}')
            return None, reason

    def _pass_over(self, steps: Sequence[int], reasons: Mapping[int, str], instead: int) -> None:
        """Renames checkpoints that not all processes can read, and reports the one used."""
        for step in reversed(steps):
            reason = reasons.get(step, 'another process does not find it')
            _say(f'the checkpoint of step {step} cannot be read: {reason}')
            if processes.is_first():
                set_aside(self._directory / str(step))
            del self._evaluations[step]
        if steps:
            _say(f'going on from the one before, of step {instead}')
        _wait_for_all('passed over')

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Restores the state and the position of a checkpoint.

        Args:
          step: the step of the checkpoint.
          like: a template of the state, with arrays, or with a ``jax.ShapeDtypeStruct`` and its
            sharding for each.
        """
        # The checkpointer would wait for the other processes, one of which may fail here.
        folder = self._directory / str(step)
        state = ocp.StandardCheckpointHandler().restore(
            folder / 'state', args=ocp.args.StandardRestore(_fields(like))
        )
        match json.loads((folder / 'position' / 'metadata').read_text()):
            case dict(position):
                return TrainState(**state), position
        raise ValueError('the position in the data is no JSON object')

    def _described(self, step: int) -> dict[str, str]:
        path = self._directory / str(step) / 'state'
        json.loads((path / '_METADATA').read_text())  # Without it, Orbax guesses the form.
        return _described(read_metadata(path))

    def _check_form(self, step: int, found: Mapping[str, str], like: TrainState) -> None:
        """Raises CheckpointError if the arrays of a checkpoint differ from those of ``like``."""
        expected = _described(_fields(like))
        different = [
            f'{name}: {found.get(name, "missing")}, expected {expected.get(name, "none")}'
            for name in sorted(found.keys() | expected.keys())
            if found.get(name) != expected.get(name)
        ]
        if different:
            more = f'\n  and {len(different) - 8} more' if len(different) > 8 else ''
            raise CheckpointError(
                f'the checkpoint of step {step} in {self._directory} is of another model, data set '
                'or optimizer:\n  ' + '\n  '.join(different[:8]) + more
            )


def kept(
    evaluations: Mapping[int, Mapping[str, float] | None], keep: int, is_due: Callable[[int], bool]
) -> set[int]:
    """Returns the steps of the checkpoints to keep.

    These are the newest ``keep`` checkpoints that every run writes, the best one, and the newest of
    all. Thus a run that is stopped repeatedly keeps the checkpoints for a rollback.

    Args:
      evaluations: the metrics of each existing checkpoint by step; None without evaluation.
      keep: the number of due checkpoints to keep.
      is_due: a function that returns whether every run writes a checkpoint at a given step.
    """
    due = sorted(filter(is_due, evaluations))
    best = best_step(evaluations)
    return {*due[-keep:], max(evaluations), *([] if best is None else [best])}


def _read_evaluations(directory: Path) -> dict[int, dict[str, float] | None]:
    evaluations = {}
    for step in checkpoint_steps(directory):
        folder = directory / str(step)
        evaluations[step] = read_evaluation(folder)
        if evaluations[step] is None and (folder / 'metrics').exists():
            _say(f'the evaluation of step {step} cannot be read: it is not known to be best')
    return evaluations


def _newest_of_all(steps: Collection[int]) -> int | None:
    """Returns the smallest of the processes' newest steps; None if a process finds none."""
    newest = int(_of_each_process(max(steps, default=-1)).min())
    return None if newest < 0 else newest


def _all_agree(value: bool) -> bool:
    return bool(_of_each_process(int(value)).all())


def _of_each_process(number: int) -> np.ndarray:
    if jax.process_count() == 1:
        return np.array([number])
    return multihost_utils.process_allgather(np.array(number))


def _wait_for_all(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _is_full(error: BaseException | None) -> bool:
    """Returns whether an error was caused by a full disk."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    words = ['RESOURCE_EXHAUSTED', *map(os.strerror, numbers)]
    return any(word in str(cause) for cause in processes.causes(error) for word in words)


def _say(text: str) -> None:
    if jax.process_index() == 0:
        warn(f'warning: {text}')


def _first_line(error: Exception) -> str:
    lines = [*str(error).splitlines(), '']
    return f'{type(error).__name__}: {lines[0][:200]}'


def _described(tree: Mapping[str, Any]) -> dict[str, str]:
    """Returns the shape and dtype of each array of a state by its name."""
    return {name: f'{tuple(leaf.shape)} {leaf.dtype}' for name, leaf in by_name(tree).items()}


def _fields(state: TrainState) -> dict[str, Any]:
    """Returns the fields of a state that are not None; checkpoints hold only these."""
    return {name: value for name, value in state._asdict().items() if value is not None}
