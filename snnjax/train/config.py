"""The configuration of a run: its keys, their checks, and the arguments of config files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict

from snnjax.data import DataOptions
from snnjax.errors import ConfigError
from snnjax.models.registry import NETWORKS, option_fields
from snnjax.spelling import did_you_mean
from snnjax.train.renamed_keys import RenamingConfigDict

# Keys that may change when a run is resumed. They do not affect the results as long as all photos
# can be decoded and all numbers are finite.
RUNTIME_KEYS = (
    'data.dir',
    'data.workers',
    'data.on_device',
    'data.on_decode_error',
    'data.max_skipped',
    'fsdp',
    'steps_per_call',
    'log_every',
    'loggers',
    'imports',
    'gradient_norms',
    'on_non_finite',
    'max_non_finite',
    'checkpoint',
)


def default_config() -> ml_collections.ConfigDict:
    """Returns every key that training reads, with its default value.

    A key with the value None takes the default of the model or the data set.
    """
    return RenamingConfigDict(
        {
            # Your own modules, separated by commas. They are imported first, and may add
            # entries to `NEURONS`, `BLOCKS`, `OPTIMIZERS` and other tables. '': none.
            'imports': '',
            # The seed of the initial parameters, the order of the images, and their augmentation.
            'seed': 0,
            # Make GPUs compute the same bits at each start: no autotuning of kernels, and
            # no kernels that add in a varying order. Other devices are deterministic anyway.
            'deterministic': False,
            # The number of passes over the training set.
            'epochs': 100,
            # The number of images in a training step, over all devices.
            'batch_size': 100,
            # The number of images in an evaluation batch, over all devices.
            'eval_batch_size': 500,
            # The number of parts of a batch that are computed in sequence, to save memory.
            # Batch normalization then uses the statistics of one part. 1: the whole batch at once.
            'microbatches': 1,
            # The number of steps that the devices take in one compiled loop, without waiting for
            # the host. A loop ends early when something has to be written. All values above 0 give
            # the same results, bit for bit. 0: on CPUs, no loop, which may round differently;
            # elsewhere, as many steps as fit into 64 MiB of batches, up to 32.
            'steps_per_call': 0,
            # The number of devices over which the parameters and the optimizer state are divided.
            # 1: each device holds all of them.
            'fsdp': 1,
            # The loss: 'cross_entropy', 'mse' or 'tet', see `snnjax.train.losses`.
            'loss': 'cross_entropy',
            # The probability that is spread evenly over all classes of the target. 0: no smoothing.
            'label_smoothing': 0.0,
            # The decay per step of an exponential moving average of the weights. The average is
            # then what is evaluated. 0: no average.
            'ema_decay': 0.0,
            # The initial weights: a folder of weights, or the work directory of another run.
            # '': new parameters.
            'init_from': '',
            # Initialize the classifier anew if the weights of `init_from` have another number of
            # classes.
            'reset_head': False,
            # The phases that are trained before the run itself, by name and in the written order.
            # A phase has this configuration, except for the keys that it sets itself, for example
            # `earlier_phases.t1 = {'epochs': 200, 'model': {'num_steps': 1}}`. Each phase begins
            # with the weights of the previous one. {}: no earlier phase.
            'earlier_phases': {},
            # The name of the network, the number of time steps, and all options of `create_model`.
            'model': _model_options() | {'name': 'ms_resnet20', 'num_steps': 4},
            # The data set and the augmentation; `snnjax.data.DataOptions` documents the keys.
            'data': dataclasses.asdict(DataOptions()),
            'optimizer': _optimizer(),
            # The number of steps between two lines of training metrics.
            'log_every': 50,
            # The services that get the metrics, in addition to metrics.jsonl and TensorBoard:
            # wandb, mlflow or trackio, separated by commas. '': none.
            'loggers': '',
            # Write the gradient norm of each block with the training metrics.
            'gradient_norms': False,
            # The reaction to a step whose loss, gradient or statistics are not finite: 'stop' ends
            # training; 'skip' continues after its images, with the weights before the step;
            # 'rollback' continues after its images, with the weights of the last checkpoint.
            'on_non_finite': 'stop',
            # The largest number of such steps in a phase; with more, training stops.
            'max_non_finite': 10,
            # The number of epochs between two evaluations. The last epoch is always evaluated.
            'eval_every_epochs': 1,
            'checkpoint': {
                # The number of steps between two checkpoints, in addition to the one after each
                # evaluation. 0: only after evaluations.
                'every_steps': 0,
                # The time between two checkpoints, in minutes. Only the newest of these is kept,
                # like the checkpoint of a run that was stopped. 0: no checkpoints by time.
                'every_minutes': 0.0,
                # The number of newest checkpoints that are kept, in addition to the one with the
                # best evaluation.
                'keep': 2,
            },
        }
    )


def _optimizer() -> ml_collections.ConfigDict:
    """Returns the default values of the ``optimizer`` section."""
    return RenamingConfigDict(
        {
            # The optimizer, a key of `snnjax.train.optimizers.OPTIMIZERS`: 'sgd', 'adam', 'adamw',
            # 'lamb', 'lion', or your own.
            'name': 'sgd',
            # The learning rate after the warm-up, which is the highest of the run.
            'learning_rate': 0.1,
            # The number of epochs in which the learning rate grows linearly from zero, before the
            # schedule begins. 0: no warm-up.
            'warmup_epochs': 0.0,
            # The schedule of the learning rate, a key of `snnjax.train.optimizers.SCHEDULES`:
            # 'cosine' (ends at zero), 'step', 'constant', or your own.
            'schedule': 'cosine',
            # Further options of the schedule, such as {'epochs': (100, 150), 'factor': 0.1} for
            # 'step'.
            'schedule_options': {},
            # The momentum of 'sgd': the share of the accumulated gradient that each step keeps. The
            # first beta of the other optimizers. 0: no momentum.
            'momentum': 0.9,
            # The factor of weight decay. 'sgd' and 'adam' use an L2 penalty on all parameters:
            # `weight_decay * parameter` is added to the gradient. 'adamw', 'lamb' and 'lion' decay
            # the kernels only, decoupled from the gradient. 0: no decay.
            'weight_decay': 1e-4,
            # Further options of the optimizer, such as {'b2': 0.95} for 'adamw'.
            'options': {},
            # The largest norm of the gradient; a larger gradient is scaled down to it. 0: no
            # clipping.
            'grad_clip_norm': 0.0,
        }
    )


def _model_options() -> dict[str, Any]:
    """Returns a typed None for each option of the networks, and {} for mappings of options."""
    # The data set and the loss determine these, except for num_steps, which has its own default.
    elsewhere = ('num_steps', 'num_classes', 'in_channels', 'step_logits')
    text = ('dtype', 'scan_layers')
    return {
        field.name: {}
        if isinstance(field.default, Mapping)
        else config_dict.placeholder(str if field.name in text else type(field.default))
        for network in NETWORKS
        for field in option_fields(network)
        if field.name not in elsewhere
    }


# The description of a value of each type, for error messages.
KINDS: dict[type, str] = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    tuple: 'whole numbers in brackets',
}


def optional_keys(config: ml_collections.ConfigDict) -> set[str]:
    """Returns the keys that may be None: those that are None in the defaults or in ``config``."""
    return {
        key
        for known in (default_config(), config)
        for key, value in flatten(known).items()
        if value is None
    }


def parse_arguments(arguments: str, **defaults: Any) -> ml_collections.ConfigDict:
    """Parses the text after the colon in ``--config=configs/X.py:depth=20,recipe=authors``.

    Args:
      arguments: the ``key=value`` pairs, separated by commas.
      **defaults: the known keys and their defaults; a value is read as the type of its default.

    Raises:
      ConfigError: for an unknown key, or a value of another type.
    """
    values = dict(defaults)
    for argument in filter(None, arguments.split(',')):
        key, equals, text = argument.partition('=')
        if key not in defaults:
            raise ConfigError(f'unknown config argument {key!r}; {did_you_mean(key, defaults)}')
        kind = type(defaults[key])
        try:
            if not equals:
                raise ValueError
            values[key] = {'true': True, 'false': False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise ConfigError(
                f'config argument {argument!r}: {key} must be {KINDS[kind]}, as in {key}='
                + (str(defaults[key]).lower() if kind is bool else f'{defaults[key]}')
            ) from None
    return ml_collections.ConfigDict(values)


def choose(kind: str, name: str, choices: Mapping[str, Any]) -> Any:
    """Returns ``choices[name]``.

    Args:
      kind: the kind of choice, for the message.
      name: the name of the choice.
      choices: the known choices by name.

    Raises:
      ConfigError: if the name is unknown; the message suggests similar names.
    """
    if name not in choices:
        raise ConfigError(f'unknown {kind} {name!r}; {did_you_mean(name, choices)}')
    return choices[name]


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Flattens a configuration: ``{'model': {'name': 'x'}}`` becomes ``{'model.name': 'x'}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[prefix + key] = value
    return flat


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], free: Sequence[str] = RUNTIME_KEYS
) -> list[str]:
    """Returns a line ``key: old -> new`` for each key whose change makes it another run.

    Keys missing from an old configuration take today's defaults.

    Args:
      old: the configuration of the run.
      new: the configuration to compare with it.
      free: the keys that may differ, including the keys inside of them.
    """
    orders = [phase_names(config.get('earlier_phases', {})) for config in (old, new)]
    old, new = flatten(default_config()) | flatten(old), flatten(new)
    changed = [
        f'{key}: {old.get(key, "(absent)")} -> {new.get(key, "(absent)")}'
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and not any(_is_within(_without_phase(key), k) for k in free)
    ]
    if not changed and orders[0] != orders[1]:
        changed = [f'earlier_phases: the order {", ".join(orders[0])} -> {", ".join(orders[1])}']
    return changed


def _without_phase(key: str) -> str:
    """Removes the phase from a key: ``earlier_phases.NAME.epochs`` becomes ``epochs``."""
    return key.split('.', 2)[2] if key.startswith('earlier_phases.') else key


def _is_within(key: str, other: str) -> bool:
    """Returns whether a key equals another one, or is inside of it."""
    return key == other or key.startswith(other + '.')


# Keys that hold options of a function, whose names depend on the function.
OPEN_KEYS = (
    'model.activation_options',
    'model.neuron_options',
    'optimizer.options',
    'optimizer.schedule_options',
)

# Keys that matter only until the run has a checkpoint of its own.
START_KEYS = ('init_from', 'reset_head')

# Keys that a phase cannot set for itself.
_OF_THE_RUN = (*START_KEYS, 'earlier_phases', 'checkpoint', 'fsdp', 'imports', 'loggers')


def phase_configs(config: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
    """Returns the configuration of each phase of a run by name, in order.

    The last phase, which is the run itself, has the name ''.

    Raises:
      ConfigError: if a phase has an unknown key, or a value of another type.
    """
    last = config.copy_and_resolve_references()
    with last.unlocked():
        last.earlier_phases = ml_collections.ConfigDict()
    known = [
        key for key in flatten(last) if not any(_is_within(key, other) for other in _OF_THE_RUN)
    ]
    phases = {}
    if not isinstance(config.earlier_phases, Mapping | ml_collections.ConfigDict):
        raise ConfigError(f'earlier_phases={config.earlier_phases!r} must have phases by name')
    for name in phase_names(config.earlier_phases):
        phases[name] = last.copy_and_resolve_references()
        given = config.earlier_phases[name]
        if not name or not isinstance(given, Mapping | ml_collections.ConfigDict):
            raise ConfigError(
                f'earlier_phases: {name!r}: {given!r} must be a name and keys of its own, as in '
                "'t1': {'epochs': 3}"
            )
        own = flatten(given)
        if not own:
            raise ConfigError(f'earlier_phases.{name}: has no key of its own; give it epochs, say')
        for key, value in own.items():
            is_open = any(_is_within(key, other) for other in OPEN_KEYS)
            if key not in known and not is_open:
                raise ConfigError(
                    f'earlier_phases.{name}.{key}: no key of a phase; {did_you_mean(key, known)}'
                )
            try:
                with phases[name].unlocked():
                    phases[name].update_from_flattened_dict({key: value})
            except TypeError as error:
                raise ConfigError(f'earlier_phases.{name}.{key}={value!r}: {error}') from error
    return phases | {'': last}


def phase_names(phases: Mapping[str, Any] | ml_collections.ConfigDict) -> list[str]:
    """Returns the names of phases in the order in which they were written."""
    if isinstance(phases, ml_collections.ConfigDict):
        # Iterating over a ConfigDict sorts the keys; its JSON keeps their order.
        return list(json.loads(phases.to_json_best_effort()))
    return list(phases)


def logger_names(config: ml_collections.ConfigDict) -> list[str]:
    """Returns the names in ``loggers``."""
    return [name for name in config.loggers.split(',') if name]


def describe_split(split: str) -> str:
    """Returns a description of a split into training and test examples; '' for the official one."""
    return '' if split == 'official' else f', split {split}'


def model_options(config: ml_collections.ConfigDict) -> tuple[str, dict[str, Any]]:
    """Returns the name and the options of the configured model, as `create_model` takes them.

    The numbers of classes and channels are not included, since the data set determines them.
    """
    values = {
        key: value.to_dict() if isinstance(value, ml_collections.ConfigDict) else value
        for key, value in config.model.items()
    }
    options = {key: value for key, value in values.items() if value is not None and value != {}}
    if 'scan_layers' in options:
        # The option is text, since it may also be 'auto'.
        word = options['scan_layers']
        options['scan_layers'] = {'true': True, 'false': False}.get(word, word)
    return options.pop('name'), options
