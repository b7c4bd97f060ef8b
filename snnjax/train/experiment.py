"""The data sets, networks and programs of a run, built once from its configuration.

A run consists of phases, which are trained one after the other. Each begins with the weights of the
previous one. The paper trains with one time step first, and then with six (B.3). Most runs have one
phase. A run with several phases computes, bit for bit, what several commands with ``init_from``
would, and can be interrupted anywhere.
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
    """A phase of a run, with its own optimizer state, and steps counted from 0.

    Attributes:
      name: the name of the phase; '' for the last one.
      config: the configuration of the phase, without other phases.
      dataset: the data set.
      batches: the training batches.
      test_split: the test images.
      program: the compiled functions.
      first_step: the number of steps of the run before the phase.
      first_epoch: the number of epochs of the run before the phase.
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
        """The number of steps of the run up to the end of the phase."""
        return self.first_step + len(self.batches)

    @property
    def periods(self) -> list[int]:
        """The numbers of steps between two checkpoints that every run writes, one for each kind."""
        config = self.config
        periods = (config.eval_every_epochs * self.batches.per_epoch, config.checkpoint.every_steps)
        return [period for period in periods if period]

    def next_stop(self, step: int) -> int:
        """Returns the next step of the phase with an evaluation, a checkpoint or a log line."""
        periods = (*self.periods, self.config.log_every)
        return min(len(self.batches), *(step // period * period + period for period in periods))

    def epoch(self, step: int) -> float:
        """Returns the epoch of the run after ``step`` steps of the phase."""
        return self.first_epoch + step / self.batches.per_epoch


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A configured run, loaded and ready to be compiled.

    Attributes:
      config: the configuration of the run.
      phases: the phases in order. The last one is the run itself.
    """

    config: ml_collections.ConfigDict
    phases: tuple[Phase, ...]

    @property
    def last(self) -> Phase:
        """The last phase, which is the run itself."""
        return self.phases[-1]

    def phase_at(self, step: int) -> int:
        """Returns the index of the phase that the checkpoint of a step belongs to.

        Raises:
          CheckpointError: if the run has fewer steps.
        """
        for number, phase in enumerate(self.phases):
            if step <= phase.last_step:
                return number
        raise CheckpointError(
            f'there is a checkpoint of step {step}, and this run has only {self.last.last_step} '
            'steps: is its data another?'
        )

    def is_due(self, step: int) -> bool:
        """Returns whether every run writes a checkpoint at a step, even if not stopped there."""
        phase = self.phases[self.phase_at(step)]
        of_phase = step - phase.first_step
        return step == phase.last_step or any(of_phase % period == 0 for period in phase.periods)


def open_experiment(config: ml_collections.ConfigDict) -> Experiment:
    """Builds everything that a run needs.

    Args:
      config: the configuration of the run, which uses all devices.

    Raises:
      ConfigError: if the configuration is invalid, see `check`; or if a phase has fewer images than
        a batch, another network than the last phase, or too large numbers.
      DatasetNotPreparedError: if the data set has to be prepared first.
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
    """The data set and the network of a phase, before anything is loaded or compiled.

    Attributes:
      name: the name of the phase; '' for the last one.
      config: the configuration of the phase.
      dataset: the data set.
      model: the network, with the classes and channels of the data set.
    """

    name: str
    config: ml_collections.ConfigDict
    dataset: Dataset
    model: Network


def check(config: ml_collections.ConfigDict, num_devices: int) -> list[Setup]:
    """Checks a configuration before anything is loaded or compiled.

    The modules in ``imports`` are loaded first, so that the names that they define are known.

    Args:
      config: the configuration, with the keys of `snnjax.train.config.default_config`.
      num_devices: the number of devices that share a batch.

    Returns:
      The data sets and networks of all phases, in order.

    Raises:
      ConfigError: if a value is invalid; the message says what is expected.
      DatasetNotPreparedError: if the data is missing; the message has the command to prepare it.
      ImportsError: if a module cannot be imported.
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
    """Opens the data set and creates the network of a configuration with a single phase.

    Raises:
      ConfigError: if an option of the data or the model is invalid; `check` checks the other keys.
      DatasetNotPreparedError: if the data set has to be prepared first.
    """
    return _set_up('', config)


def _set_up(name: str, config: ml_collections.ConfigDict) -> Setup:
    return Setup(name, config, *open_network(config.data, *model_options(config)))


def open_network(
    data: Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> tuple[Dataset, Network]:
    """Opens a data set, and creates a network for its classes and channels.

    Args:
      data: the fields of `DataOptions` by name.
      name: the name of the network.
      options: the options of `create_model`, with ``num_steps``.

    Raises:
      ConfigError: if an option is invalid, or the images are too small for the network.
      DatasetNotPreparedError: if the data set has to be prepared first.
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
      ConfigError: if there are fewer images than in a batch, or all steps are warm-up.
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


# The largest number of steps, and of parameters: both are counted with int32.
_MOST = 2**31 - 1


def _check_numbers(phase: Phase, num_devices: int) -> None:
    """Raises ConfigError for numbers of a phase that are too large, before it is compiled."""
    config, prefix = phase.config, f'earlier_phases.{phase.name}: ' if phase.name else ''
    steps = phase.last_step
    if steps > _MOST:
        raise ConfigError(
            f'{prefix}epochs={config.epochs} are {steps:,} steps, more than {_MOST:,}'
        )
    # A larger batch would only add padding.
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
    """Raises ConfigError if the weights of a phase would not fit the last phase."""
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
