"""The phases of a run: trainings one after the other, each from the weights of the one before.

The paper trains at one time step first, and goes on at six (B.3). Most runs have a single phase. A
run of several does what several commands with ``init_from`` would do, bit by bit, and can be
interrupted anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import ml_collections
from jax.sharding import Mesh

from snnjax.data import Dataset, Split
from snnjax.data.pipeline import TrainingBatches
from snnjax.models.params import by_name
from snnjax.spelling import count
from snnjax.train.config import ConfigError, dataset_of, phase_configs
from snnjax.train.program import Program, build_program
from snnjax.train.state import count_parameters


@dataclasses.dataclass(frozen=True)
class Phase:
    """A training of its own: it begins with a new optimiser, and at its own step 0.

    Attributes:
      name: '' for the last one.
      config: as if there were no other phase.
      dataset: of its images.
      batches: to train on.
      test_split: to evaluate on.
      program: what runs on the devices.
      first_step: steps of the run before it.
      first_epoch: epochs before it.
    """

    name: str
    config: ml_collections.ConfigDict
    dataset: Dataset
    batches: TrainingBatches
    test_split: Split
    program: Program
    first_step: int
    first_epoch: int

    @property
    def last_step(self) -> int:
        """Steps of the run up to its end."""
        return self.first_step + len(self.batches)

    def epoch(self, step: int) -> float:
        """Of the run, after so many steps of the phase."""
        return self.first_epoch + step / self.batches.per_epoch


def make_phases(config: ml_collections.ConfigDict, mesh: Mesh) -> list[Phase]:
    """All phases of a run, in order.

    Args:
      config: of the run.
      mesh: of the devices.

    Raises:
      ConfigError: for a phase with fewer images than a batch, with another network, or with
        numbers that are too large.
    """
    phases: list[Phase] = []
    step = epoch = 0
    for name, phase_config in phase_configs(config).items():
        dataset = dataset_of(phase_config)
        batches = training_batches(phase_config, dataset.load('train'))
        phase = Phase(
            name=name,
            config=phase_config,
            dataset=dataset,
            batches=batches,
            test_split=dataset.load('test'),
            program=build_program(phase_config, mesh, batches.per_epoch),
            first_step=step,
            first_epoch=epoch,
        )
        _check_numbers(phase, mesh.size)
        phases.append(phase)
        step, epoch = phase.last_step, epoch + phase_config.epochs
    _check_same_network(phases)
    return phases


def training_batches(config: ml_collections.ConfigDict, split: Split) -> TrainingBatches:
    """The batches of a phase.

    Args:
      config: of the phase.
      split: its training images.

    Raises:
      ConfigError: where they are fewer than a batch, or all steps are warm-up.
    """
    per_epoch = len(split) // config.batch_size
    if per_epoch == 0:
        raise ConfigError(
            f'batch_size={config.batch_size} must be at most the {len(split)} training images'
        )
    warmup, steps = config.optimizer.warmup_epochs, config.epochs * per_epoch
    if round(warmup * per_epoch) >= steps:
        raise ConfigError(
            f'optimizer.warmup_epochs={warmup} is all of the {count(steps, "step")}: leave one for '
            'the cosine'
        )
    return TrainingBatches(
        split,
        config.batch_size,
        config.seed,
        num_batches=config.epochs * per_epoch,
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


# Steps are counted in 31 bits, and so are the parameters of a network that a device can hold.
_MOST = 2**31 - 1


def _check_numbers(phase: Phase, num_devices: int) -> None:
    """Finds what its data shows of a phase to be impossible, before anything is compiled."""
    config, prefix = phase.config, f'earlier_phases.{phase.name}: ' if phase.name else ''
    steps = phase.last_step
    if steps > _MOST:
        raise ConfigError(
            f'{prefix}epochs={config.epochs} are {steps:,} steps, more than {_MOST:,}'
        )
    # A batch is filled up with nothing.
    most = max(len(phase.test_split), 1000 * num_devices)
    if config.eval_batch_size > most:
        raise ConfigError(
            f'{prefix}eval_batch_size={config.eval_batch_size} must be at most {most:,} for '
            f'{count(len(phase.test_split), "test image")}'
        )
    parameters = count_parameters(phase.program.abstract_state().params)
    if parameters > _MOST:
        raise ConfigError(
            f'{prefix}{config.model.name} has {parameters:,} parameters with these options, more '
            f'than {_MOST:,}: try smaller model.widths or model.channels'
        )


def _check_same_network(phases: Sequence[Phase]) -> None:
    """Finds before the first phase that its weights would not fit the next."""
    if len(phases) == 1:
        return
    *earlier, last = (
        {key: leaf.shape for key, leaf in by_name(phase.program.abstract_state().variables).items()}
        for phase in phases
    )
    for phase, shapes in zip(phases, earlier, strict=False):
        for key in sorted(shapes.keys() | last.keys()):
            if shapes.get(key) != last.get(key):
                raise ConfigError(
                    f'earlier_phases.{phase.name}: has another network than the run: {key} is '
                    f'{shapes.get(key, "missing")}, not {last.get(key, "missing")}'
                )
