"""The least time that all steps and evaluations of a run take, from those of one of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class PhaseTime:
    """The least time of a phase.

    Attributes:
      name: of the phase, '' for the last one.
      steps: training steps of all epochs.
      step_seconds: least seconds of a training step.
      evaluations: evaluations of the test split, in the phase and at its end.
      evaluation_steps: batches of each.
      evaluation_step_seconds: least seconds of such a batch.
    """

    name: str
    steps: int
    step_seconds: float
    evaluations: int
    evaluation_steps: int
    evaluation_step_seconds: float

    @property
    def training_seconds(self) -> float:
        """The least seconds of all training steps."""
        return self.steps * self.step_seconds

    @property
    def evaluation_seconds(self) -> float:
        """The least seconds of all evaluations."""
        return self.evaluations * self.evaluation_steps * self.evaluation_step_seconds

    @property
    def hours(self) -> float:
        """The least hours of the phase."""
        return (self.training_seconds + self.evaluation_seconds) / 3600


def phase_time(
    name: str,
    config: Any,
    train_images: int,
    test_images: int,
    step_seconds: float,
    evaluation_step_seconds: float,
) -> PhaseTime:
    """Counts the steps and evaluations of a phase.

    Args:
      name: of the phase.
      config: of the phase, for ``epochs``, ``batch_size`` and ``eval_every_epochs``.
      train_images: images of the training split; what is left of an epoch, less than a batch, is
        not trained on.
      test_images: images of the test split, evaluated in batches of ``batch_size``.
      step_seconds: least seconds of a training step.
      evaluation_step_seconds: least seconds of a batch of an evaluation.
    """
    return PhaseTime(
        name=name,
        steps=config.epochs * (train_images // config.batch_size),
        step_seconds=step_seconds,
        evaluations=math.ceil(config.epochs / config.eval_every_epochs),
        evaluation_steps=math.ceil(test_images / config.batch_size),
        evaluation_step_seconds=evaluation_step_seconds,
    )


def to_json(phases: Sequence[PhaseTime], chips: int) -> dict[str, Any]:
    """Returns phases with their sums, ``hours`` and ``chip_hours``, as JSON has them."""
    hours = sum(phase.hours for phase in phases)
    return {
        'phases': [dataclasses.asdict(phase) | {'hours': phase.hours} for phase in phases],
        'hours': hours,
        'chip_hours': hours * chips,
    }


def to_rows(phases: Sequence[PhaseTime], chips: int) -> list[tuple[str, str]]:
    """Returns the rows of a table: each phase if there are several, and the whole."""
    rows = []
    for phase in phases:
        label = f'phase {phase.name or "of the run"}' if len(phases) > 1 else 'steps'
        rows.append(
            (
                label,
                f'{phase.steps:,} in {phase.training_seconds / 3600:.2f} h, '
                f'{phase.evaluations:,} evaluations in {phase.evaluation_seconds / 3600:.2f} h',
            )
        )
    hours = sum(phase.hours for phase in phases)
    return [*rows, ('whole run', f'at least {hours:.2f} h, {hours * chips:.1f} chip-hours')]
