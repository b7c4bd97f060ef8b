"""Checkpoints of a run, written while training goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from snnjax.errors import EXIT_FAILED, UserError
from snnjax.train.progress import warn
from snnjax.train.state import TrainState
from snnjax.train.weights import by_name, checkpoint_steps, read_metadata, score


class CheckpointError(UserError):
    """Checkpoints that cannot be read or written, or are of another model; the message says why."""


class CheckpointWriteError(CheckpointError):
    """A checkpoint that could not be written, on a disk that is full, for example."""

    exit_status = EXIT_FAILED


class Restored(NamedTuple):
    """What a checkpoint holds: its step, the state, and plain numbers for data and metrics."""

    step: int
    state: TrainState
    position: dict[str, Any]


class Checkpoints:
    """The checkpoints of a work directory: the newest few, and the best one.

    A checkpoint holds the state and the position in the data, and counts only once it is complete:
    a process that dies while writing leaves the ones before as they were. Use as a context manager;
    leaving it waits for what is being written.

    Args:
      directory: made where it is missing.
      keep: how many of the newest to keep, beside the one with the best ``eval/accuracy``.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory.absolute()
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(
                    get_metric_fn=score,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        # Orbax reads all evaluations when it opens the directory, and would not open it.
        _set_aside(_damaged_evaluations(self._directory))
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                # The policy decides; but only with this are metrics written, and known to the next
                # process that opens the directory.
                best_fn=score,
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            with self._writing():
                self._manager.close()
        elif jax.process_count() == 1:
            # Of several processes, one may be gone that the writing waits for.
            with contextlib.suppress(Exception):  # There is an error already.
                self._manager.close()

    def save(
        self,
        step: int,
        state: TrainState,
        position: dict[str, Any],
        evaluation: dict[str, float] | None = None,
    ) -> None:
        """Begins to write a checkpoint; returns once ``state`` may be given away.

        Args:
          step: its number; one that is there already is left alone.
          state: to be continued from.
          position: plain numbers by name that stand for the data and the metrics.
          evaluation: of this state; the checkpoint of the highest ``eval/accuracy`` is kept.

        Raises:
          CheckpointWriteError: where this one, or the one before, cannot be written.
        """
        if step == self._manager.latest_step():
            return
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_fields(state)),
                    position=ocp.args.JsonSave(position),
                ),
                metrics=evaluation,
            )

    @contextlib.contextmanager
    def _writing(self) -> Any:
        try:
            yield
        # Whatever Orbax, TensorStore and the system have for a disk that is full, or gone.
        except Exception as error:
            good = checkpoint_steps(self._directory)
            raise CheckpointWriteError(
                f'a checkpoint cannot be written to {self._directory}: {_first_line(error)}\n'
                + (f'the last good one is of step {good[-1]}' if good else 'there is no other')
            ) from error

    def steps(self) -> list[int]:
        """The numbers of all checkpoints, once those that are being written are complete."""
        with self._writing():
            self._manager.wait_until_finished()
        return sorted(self._manager.all_steps())

    def restore_newest(self, like: Callable[[int], TrainState]) -> Restored | None:
        """The newest checkpoint that can be read; None where there is none at all.

        Those that cannot be read are said, and set aside as ``STEP.unreadable``.

        Args:
          like: of the step of a checkpoint, the state to restore in the form of, with a
            ``jax.ShapeDtypeStruct`` and its sharding for each array.

        Raises:
          CheckpointError: for one of another model or optimiser, or where none can be read.
        """
        unreadable: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            form = like(step)
            try:
                self._check_form(step, form)
                state, position = self.restore(step, form)
            except CheckpointError:
                raise
            # Orbax and TensorStore have errors of many kinds for files that are damaged.
            except Exception as error:
                unreadable[step] = _first_line(error)
                continue
            for number, reason in unreadable.items():
                _say(f'the checkpoint of step {number} cannot be read: {reason}')
            if unreadable:
                _say(f'going on from the one before, of step {step}')
                _set_aside([self._directory / str(number) for number in unreadable])
                self._manager.reload()
            return Restored(step, state, position)
        if unreadable:
            raise CheckpointError(
                f'no checkpoint in {self._directory} can be read:\n  '
                + '\n  '.join(f'step {step}: {reason}' for step, reason in unreadable.items())
                + '\nPut back a copy of one, or give another --workdir to begin anew.'
            )
        return None

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """State and position of a checkpoint.

        Args:
          step: its number.
          like: a state to restore in the form of, of arrays, or with a ``jax.ShapeDtypeStruct``
            and its sharding for each.
        """
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_fields(like)), position=ocp.args.JsonRestore()
            ),
        )
        return TrainState(**restored.state), restored.position

    def _check_form(self, step: int, like: TrainState) -> None:
        """Raises CheckpointError where a checkpoint has other arrays than ``like``."""
        path = self._directory / str(step) / 'state'
        json.loads((path / '_METADATA').read_text())  # Without it Orbax makes up another form.
        found = _described(read_metadata(path))
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
                'or optimiser:\n  ' + '\n  '.join(different[:8]) + more
            )


def _set_aside(paths: Sequence[Path]) -> None:
    """Gives files or folders another name, under which they do not count, and are not removed."""
    if paths and jax.process_index() == 0:
        for path in paths:
            path.rename(_free(path.with_name(f'{path.name}.unreadable')))
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices('set aside')


def _damaged_evaluations(directory: Path) -> list[Path]:
    damaged = []
    for step in checkpoint_steps(directory):
        file = directory / str(step) / 'metrics' / 'metrics'
        try:
            if file.exists():
                json.loads(file.read_text())
        except ValueError:
            _say(f'the evaluation of step {step} cannot be read: it is not known to be best')
            damaged.append(file)
    return damaged


def _free(path: Path) -> Path:
    """The path, with a number behind it where there is such a file already."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f'{path.name}{number}')
    return free


def _say(text: str) -> None:
    if jax.process_index() == 0:
        warn(f'warning: {text}')


def _first_line(error: Exception) -> str:
    lines = [*str(error).splitlines(), '']
    return f'{type(error).__name__}: {lines[0][:200]}'


def _described(tree: Mapping[str, Any]) -> dict[str, str]:
    """Shape and dtype of each array of a state by its name."""
    return {name: f'{tuple(leaf.shape)} {leaf.dtype}' for name, leaf in by_name(tree).items()}


def _fields(state: TrainState) -> dict[str, Any]:
    """What there is of a state: a field that a run does not use is not in its checkpoints."""
    return {name: value for name, value in state._asdict().items() if value is not None}
