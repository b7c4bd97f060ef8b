"""Checkpoints of a run, written while training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from snnjax.train.state import TrainState


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
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(
                    get_metric_fn=_accuracy,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                # The policy decides; but only with this are metrics written, and known to the next
                # process that opens the directory.
                best_fn=_accuracy,
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind and jax.process_count() > 1:
            return  # What is being written may wait for a process that is gone.
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
        """
        if step == self._manager.latest_step():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_fields(state)), position=ocp.args.JsonSave(position)
            ),
            metrics=evaluation,
        )

    def latest_step(self) -> int | None:
        """The number of the newest checkpoint, or None where there is none."""
        return self._manager.latest_step()

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """State and position of a checkpoint.

        Args:
          step: its number.
          like: a state, or its ``jax.ShapeDtypeStruct``s with shardings, to restore in the form of.
        """
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_fields(like)), position=ocp.args.JsonRestore()
            ),
        )
        return TrainState(**restored.state), restored.position


def _fields(state: TrainState) -> dict[str, Any]:
    """What there is of a state: a field that a run does not use is not in its checkpoints."""
    return {name: value for name, value in state._asdict().items() if value is not None}


def _accuracy(evaluation: dict[str, float]) -> float:
    return evaluation['eval/accuracy']
