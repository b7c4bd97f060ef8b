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

# Keys that may change when a run is continued: they change nothing of what it computes from photos
# that can be decoded and numbers that are finite.
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
    """Every key that training reads, with the value it has where an experiment says nothing.

    Keys whose value is None are left to the model or the data set.
    """
    return RenamingConfigDict(
        {
            # Modules of your own that are imported before names are looked up, with commas between:
            # they add to `NEURONS`, `BLOCKS`, `OPTIMIZERS` and other tables.
            'imports': '',
            # Of the initial parameters, the order of the images and their augmentation.
            'seed': 0,
            # Whether GPUs have to compute the same bits at each start, without trying which kernels
            # are fast and without those that add in a changing order; others do so anyway.
            'deterministic': False,
            # Of the training set.
            'epochs': 100,
            # Images in a step, over all devices.
            'batch_size': 100,
            'eval_batch_size': 500,
            # Parts that a batch is computed in, one after the other, to save memory; the statistics
            # of batch normalisation are then those of a part.
            'microbatches': 1,
            # Steps that the devices take in a loop of their own, without waiting for the host;
            # fewer where something is written before. All numbers come to the same, bit for bit.
            # 0 is no loop on CPUs, where a step may be rounded otherwise by itself, and elsewhere
            # as many steps as 64 MiB of batches allow, up to 32.
            'steps_per_call': 0,
            # Devices that share the parameters and the optimiser's state, each with a part of them;
            # with 1, each device has all.
            'fsdp': 1,
            # 'cross_entropy', 'mse' or 'tet', see `snnjax.train.losses`.
            'loss': 'cross_entropy',
            'label_smoothing': 0.0,
            # Of an exponential average of the weights over the steps, which is then what is
            # evaluated; 0 for none.
            'ema_decay': 0.0,
            # A folder of weights, or the work directory of another run, to start from instead of
            # initial parameters.
            'init_from': '',
            # Whether the classifier starts anew where those weights have another number of classes.
            'reset_head': False,
            # Training that comes first, in phases by name and in the order in which they are
            # written: each is the run as configured here but for the keys of its own, as in
            # `earlier_phases.t1 = {'epochs': 200, 'model': {'num_steps': 1}}`, and begins with the
            # weights of the one before. The run itself is the last.
            'earlier_phases': {},
            # The name, and every option of `create_model`.
            'model': _model_options() | {'name': 'ms_resnet20', 'num_steps': 4},
            # `snnjax.data.DataOptions`, explained there.
            'data': dataclasses.asdict(DataOptions()),
            'optimizer': _optimizer(),
            # Steps between two lines of training metrics.
            'log_every': 50,
            # What they are sent to beside metrics.jsonl and TensorBoard: wandb, mlflow or trackio,
            # or several of them with commas between.
            'loggers': '',
            # Write with them the norm of the gradient by the parameters of each block.
            'gradient_norms': False,
            # What is done about a step whose loss, gradient or statistics are not finite: 'stop';
            # 'skip', go on with the next images and the weights before it; 'rollback', go on with
            # them and the weights of the checkpoint before.
            'on_non_finite': 'stop',
            # Such steps in a phase before training stops nevertheless.
            'max_non_finite': 10,
            # Epochs between two evaluations; the last epoch is always evaluated.
            'eval_every_epochs': 1,
            'checkpoint': {
                # Steps between two checkpoints, beside the one after each evaluation; 0 for none.
                'every_steps': 0,
                # Likewise minutes; only the newest of these is kept, as where a run was stopped.
                'every_minutes': 0.0,
                # Checkpoints that are kept, beside the one of the best evaluation.
                'keep': 2,
            },
        }
    )


def _optimizer() -> ml_collections.ConfigDict:
    return RenamingConfigDict(
        {
            # A key of `snnjax.train.optimizers.OPTIMIZERS`: 'sgd', 'adam', 'adamw', 'lamb',
            # 'lion', or one of your own.
            'name': 'sgd',
            # At its peak.
            'learning_rate': 0.1,
            # Epochs of linear increase from zero, before the schedule.
            'warmup_epochs': 0.0,
            # A key of `snnjax.train.optimizers.SCHEDULES`: 'cosine', which ends at zero,
            # 'step' or 'constant', or one of your own; and further options of it, as
            # {'epochs': (100, 150), 'factor': 0.1} of 'step'.
            'schedule': 'cosine',
            'schedule_options': {},
            # Share of the mean gradient that a step keeps; the first beta of Adam and its kin.
            'momentum': 0.9,
            # Of 'sgd' and 'adam' half the factor of the squared norm of all parameters in the
            # loss: `weight_decay * parameter` is added to the gradient. Of 'adamw', 'lamb' and
            # 'lion' apart from the gradient, and of kernels only.
            'weight_decay': 1e-4,
            # Further options of the optimizer, as {'b2': 0.95} of 'adamw'.
            'options': {},
            # The norm that a gradient is scaled down to where it is larger; 0 for none.
            'grad_clip_norm': 0.0,
        }
    )


def _model_options() -> dict[str, Any]:
    """None for each option of the networks, of the option's type; {} for further options."""
    # What the data set and the loss say is not an option of its own.
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


# What a value of a type is called.
KINDS: dict[type, str] = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    tuple: 'whole numbers in brackets',
}


def optional_keys(config: ml_collections.ConfigDict) -> set[str]:
    """Returns the keys that may be None: those left to the model, and others that are None."""
    return {
        key
        for known in (default_config(), config)
        for key, value in flatten(known).items()
        if value is None
    }


def parse_arguments(arguments: str, **defaults: Any) -> ml_collections.ConfigDict:
    """Reads what stands behind the colon in ``--config=configs/X.py:depth=20,recipe=authors``.

    Args:
      arguments: ``key=value`` pairs with commas between them.
      **defaults: the known keys; a value is read as the type of its default.

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
    """``choices[name]``; ConfigError with the near names where there is none."""
    if name not in choices:
        raise ConfigError(f'unknown {kind} {name!r}; {did_you_mean(name, choices)}')
    return choices[name]


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """``{'model': {'name': 'x'}}`` -> ``{'model.name': 'x'}``."""
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
    """Returns a line ``key: old -> new`` for each key that makes it another run.

    A key that was not there yet when a run began stood for what is the default now.

    Args:
      old: the configuration of the run.
      new: the one to compare with it.
      free: keys that may differ, each with those inside of it.
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
    """``earlier_phases.NAME.epochs`` -> ``epochs``."""
    return key.split('.', 2)[2] if key.startswith('earlier_phases.') else key


def _is_within(key: str, other: str) -> bool:
    """Whether a key is another one, or one of those inside of it."""
    return key == other or key.startswith(other + '.')


# Keys that hold further keys, whatever function they are options of.
OPEN_KEYS = (
    'model.activation_options',
    'model.neuron_options',
    'optimizer.options',
    'optimizer.schedule_options',
)

# Keys that matter until a run has a checkpoint of its own.
START_KEYS = ('init_from', 'reset_head')

# Keys that a phase cannot have of its own.
_OF_THE_RUN = (*START_KEYS, 'earlier_phases', 'checkpoint', 'fsdp', 'imports', 'loggers')


def phase_configs(config: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
    """The configuration of each phase of a run by its name, in order; that of the last is ''.

    Raises:
      ConfigError: for a phase with a key that is none, or with a value of another type.
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
    """Returns the names of phases in the order in which they are written."""
    if isinstance(phases, ml_collections.ConfigDict):
        # Its own order is the alphabet's.
        return list(json.loads(phases.to_json_best_effort()))
    return list(phases)


def logger_names(config: ml_collections.ConfigDict) -> list[str]:
    """The names in ``loggers``."""
    return [name for name in config.loggers.split(',') if name]


def describe_split(split: str) -> str:
    """Says how training and test examples are divided, where that is not official."""
    return '' if split == 'official' else f', split {split}'


def model_options(config: ml_collections.ConfigDict) -> tuple[str, dict[str, Any]]:
    """Returns name and options of the model of a configuration, as `create_model` takes them.

    Classes and channels, which are those of the data set, are not among them.
    """
    values = {
        key: value.to_dict() if isinstance(value, ml_collections.ConfigDict) else value
        for key, value in config.model.items()
    }
    options = {key: value for key, value in values.items() if value is not None and value != {}}
    if 'scan_layers' in options:
        # True and false are words on the command line, where 'auto' may stand, too.
        word = options['scan_layers']
        options['scan_layers'] = {'true': True, 'false': False}.get(word, word)
    return options.pop('name'), options
