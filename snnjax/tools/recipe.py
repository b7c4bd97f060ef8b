"""Lower bounds on the time of a run, from the time of one training step and one evaluation step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from snnjax.spelling import count


@dataclasses.dataclass(frozen=True)
class PhaseTime:
    """A lower bound on the time of a phase.

    Attributes:
      name: the name of the phase; '' for the last one.
      steps: the number of training steps of all epochs.
      step_seconds: the lower bound on the time of a training step, in seconds.
      evaluations: the number of evaluations of the test split, including the one at the end.
      evaluation_steps: the number of batches per evaluation.
      evaluation_step_seconds: the lower bound on the time of such a batch, in seconds.
    """

    name: str
    steps: int
    step_seconds: float
    evaluations: int
    evaluation_steps: int
    evaluation_step_seconds: float

    @property
    def training_seconds(self) -> float:
        """Returns the lower bound for all training steps, in seconds."""
        return self.steps * self.step_seconds

    @property
    def evaluation_seconds(self) -> float:
        """Returns the lower bound for all evaluations, in seconds."""
        return self.evaluations * self.evaluation_steps * self.evaluation_step_seconds

    @property
    def hours(self) -> float:
        """Returns the lower bound for the phase, in hours."""
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
      name: the name of the phase.
      config: the configuration of the phase, with ``epochs``, ``batch_size`` and
        ``eval_every_epochs``.
      train_images: the number of training images. An incomplete last batch of an epoch is not
        trained on.
      test_images: the number of test images, evaluated in batches of ``batch_size``.
      step_seconds: the lower bound on the time of a training step, in seconds.
      evaluation_step_seconds: the lower bound on the time of an evaluation batch, in seconds.
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
    """Returns the phases and their sums, ``hours`` and ``chip_hours``, as JSON can hold them."""
    hours = sum(phase.hours for phase in phases)
    return {
        'phases': [dataclasses.asdict(phase) | {'hours': phase.hours} for phase in phases],
        'hours': hours,
        'chip_hours': hours * chips,
    }


def to_rows(phases: Sequence[PhaseTime], chips: int) -> list[tuple[str, str]]:
    """Returns the rows of a table: one per phase if there are several, and one for the run."""
    rows = []
    for phase in phases:
        rows.append(
            (
                f'phase {phase.name or "(last)"}' if len(phases) > 1 else 'training',
                f'{count(phase.steps, "step")} in {phase.training_seconds / 3600:.2f} h, '
                f'{count(phase.evaluations, "evaluation")} in '
                f'{phase.evaluation_seconds / 3600:.2f} h',
            )
        )
    hours = sum(phase.hours for phase in phases)
    return [*rows, ('whole run', f'at least {hours:.2f} h, {hours * chips:.1f} chip-hours')]
