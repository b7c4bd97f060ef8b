"""Everything that a run needs, built once from its configuration: data sets, networks, programs.

A run has phases: trainings one after the other, each from the weights of the one before. The paper
trains at one time step first, and goes on at six (B.3). Most runs have a single phase. A run of
several does what several commands with ``init_from`` would do, bit by bit, and can be interrupted
anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections

from snnjax.data import DataOptions, Dataset, Split, open_dataset
from snnjax.data.pipeline import TrainingBatches
from snnjax.errors import ConfigError, UserError
from snnjax.models import Network, create_model
from snnjax.models.params import by_name
from snnjax.modules import load_modules
from snnjax.paths import expand
from snnjax.spelling import count
from snnjax.train.checkpoints import CheckpointError
from snnjax.train.config import model_options, phase_configs
from snnjax.train.config_values import check_kinds, check_values
from snnjax.train.program import Program, build_program
from snnjax.train.sharding import make_mesh
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

    @property
    def periods(self) -> list[int]:
        """The steps between two checkpoints that every run writes, for each kind in use."""
        config = self.config
        periods = (config.eval_every_epochs * self.batches.per_epoch, config.checkpoint.every_steps)
        return [period for period in periods if period]

    def next_stop(self, step: int) -> int:
        """The next step of the phase at which something is evaluated, saved or written."""
        periods = (*self.periods, self.config.log_every)
        return min(len(self.batches), *(step // period * period + period for period in periods))

    def epoch(self, step: int) -> float:
        """Of the run, after so many steps of the phase."""
        return self.first_epoch + step / self.batches.per_epoch


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A run as its configuration describes it, loaded and ready to be compiled.

    Attributes:
      config: of the run.
      phases: in order; the last is the run as configured, all but its own keys are those of it.
    """

    config: ml_collections.ConfigDict
    phases: tuple[Phase, ...]

    @property
    def last(self) -> Phase:
        """The phase that the run is for."""
        return self.phases[-1]

    def phase_at(self, step: int) -> int:
        """Returns the number of the phase that a checkpoint is of.

        Raises:
          CheckpointError: where it is of none.
        """
        for number, phase in enumerate(self.phases):
            if step <= phase.last_step:
                return number
        raise CheckpointError(
            f'there is a checkpoint of step {step}, and this run has only {self.last.last_step} '
            'steps: is its data another?'
        )

    def is_due(self, step: int) -> bool:
        """Returns whether every run has a checkpoint of a step, and not only one stopped there."""
        phase = self.phases[self.phase_at(step)]
        of_phase = step - phase.first_step
        return step == phase.last_step or any(of_phase % period == 0 for period in phase.periods)


def open_experiment(config: ml_collections.ConfigDict) -> Experiment:
    """Builds everything that a run needs.

    Args:
      config: of the run, which takes all devices.

    Raises:
      ConfigError: where the configuration cannot be run, see `check`; for a phase with fewer images
        than a batch, with another network, or with numbers that are too large.
      DatasetNotPreparedError: where the data has to be made first.
    """
    setups = check(config, jax.device_count())
    mesh = make_mesh(fsdp=config.fsdp)
    phases: list[Phase] = []
    step = epoch = 0
    for setup in setups:
        batches = training_batches(setup)
        phase = Phase(
            name=setup.name,
            config=setup.config,
            dataset=setup.dataset,
            batches=batches,
            test_split=setup.dataset.load('test'),
            program=build_program(
                setup.config, setup.dataset, setup.model, mesh, batches.per_epoch
            ),
            first_step=step,
            first_epoch=epoch,
        )
        _check_numbers(phase, mesh.size)
        phases.append(phase)
        step, epoch = phase.last_step, epoch + phase.config.epochs
    _check_same_network(phases)
    return Experiment(config, tuple(phases))


@dataclasses.dataclass(frozen=True)
class Setup:
    """The data set and the network that a phase describes; nothing is loaded or compiled.

    Attributes:
      name: of the phase, '' for the last one.
      config: of the phase.
      dataset: of its images.
      model: for the classes and channels of these.
    """

    name: str
    config: ml_collections.ConfigDict
    dataset: Dataset
    model: Network


def check(config: ml_collections.ConfigDict, num_devices: int) -> list[Setup]:
    """Finds what would go wrong later, before anything is loaded or compiled.

    Modules that ``imports`` names are loaded, so that names in the configuration are known.

    Args:
      config: with the keys of `snnjax.train.config.default_config`.
      num_devices: how many devices share a batch.

    Returns:
      The data sets and networks of all phases, in order.

    Raises:
      ConfigError: for a value that cannot be; the message says what can.
      DatasetNotPreparedError: where the data is missing; the message has the command to make it.
      ImportsError: for a module that cannot be imported.
    """
    check_kinds(config)
    load_modules(config.imports)
    setups = []
    for name, phase in phase_configs(config).items():
        try:
            check_kinds(phase)
            check_values(phase, num_devices)
            setups.append(_set_up(name, phase))
        except ConfigError as error:
            raise ConfigError(f'earlier_phases.{name}: {error}' if name else str(error)) from error
    return setups


def set_up(config: ml_collections.ConfigDict) -> Setup:
    """Opens the data set and makes the network of a configuration with a single phase.

    Raises:
      ConfigError: for options that cannot be; other keys are not looked at, see `check`.
      DatasetNotPreparedError: where the data has to be made first.
    """
    return _set_up('', config)


def _set_up(name: str, config: ml_collections.ConfigDict) -> Setup:
    return Setup(name, config, *open_network(config.data, *model_options(config)))


def open_network(
    data: Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> tuple[Dataset, Network]:
    """Opens a data set, and makes a network for its classes and channels.

    Args:
      data: fields of `DataOptions`.
      name: name of the network.
      options: options of `create_model`, with ``num_steps``.

    Raises:
      ConfigError: for options that cannot be, or images that are too small for the network.
      DatasetNotPreparedError: where the data has to be made first.
    """
    try:
        of_data = DataOptions(**data)
        expand(of_data.dir)
        dataset = open_dataset(of_data, options['num_steps'])
        model = create_model(
            name,
            num_classes=dataset.num_classes,
            in_channels=dataset.image_shape[-1],
            **options,
        )
        model.check_size(*dataset.image_shape[-3:-1])
    except UserError:
        raise
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    return dataset, model


def training_batches(setup: Setup) -> TrainingBatches:
    """Loads the training images of a phase, and returns its batches.

    Raises:
      ConfigError: where they are fewer than a batch, or all steps are warm-up.
    """
    config, split = setup.config, setup.dataset.load('train')
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
