"""Checks of configuration values that do not depend on the data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from snnjax.errors import ConfigError
from snnjax.spelling import count, did_you_mean
from snnjax.train.config import (
    KINDS,
    OPEN_KEYS,
    default_config,
    flatten,
    logger_names,
    optional_keys,
)
from snnjax.train.loggers import LoggerError, check_loggers
from snnjax.train.losses import LOSSES
from snnjax.train.optimizers import OPTIMIZERS, SCHEDULES, check_options
from snnjax.train.state import SEEDS
from snnjax.weights.source import find_weights

# The limits of int32, in which steps, images and neurons are counted, and of float32.
_MOST_INT = 2**31 - 1


_MOST_FLOAT = 3.4e38


def check_kinds(config: ml_collections.ConfigDict) -> None:
    """Raises ConfigError if a key is missing, or a value has another type or is out of range."""
    default, values = default_config(), flatten(config)
    kinds = {
        key: default.model.get_type(key.removeprefix('model.')) if value is None else type(value)
        for key, value in flatten(default).items()
    }
    optional = optional_keys(default)
    for key, kind in kinds.items():
        if key not in values:
            raise ConfigError(f'{key} is missing: begin with default_config()')
        value = values[key]
        if value is None and key in optional:
            continue
        if not _is_of(kind, value):
            raise ConfigError(f'{key}={value!r} must be {KINDS[kind]}')
        numbers = value if isinstance(value, tuple | list) else (value,)
        # A seed may have 64 bits.
        if kind in (int, tuple) and key != 'seed' and any(abs(n) > _MOST_INT for n in numbers):
            raise ConfigError(f'{key}={value} must be at most {_MOST_INT:,}')
        if kind is float and not abs(value) <= _MOST_FLOAT:
            raise ConfigError(f'{key}={value} must be a finite number, at most {_MOST_FLOAT}')
    for key in OPEN_KEYS:
        if key in values:
            raise ConfigError(f"{key}={values[key]!r} must have options by name, as {{'b2': 0.95}}")


def _is_of(kind: type, value: Any) -> bool:
    """Returns whether a value has a type; integers count as floats, and lists as tuples."""
    if kind is tuple:
        return isinstance(value, tuple | list) and all(_is_of(int, number) for number in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def check_values(config: ml_collections.ConfigDict, num_devices: int) -> None:
    """Raises ConfigError for a value of a phase that is invalid for every data set."""
    values = flatten(config)

    def require(key: str, expected: str, holds: Callable[[Any], bool]) -> None:
        if not holds(values[key]):
            raise ConfigError(f'{key}={values[key]} must be {expected}')

    def require_multiple(key: str, number: int, called: str) -> None:
        below = values[key] // number * number
        require(
            key,
            f'a multiple of {called}, like {below or number} or {(below or number) + number}',
            lambda value: value % number == 0,
        )

    for key in (
        'epochs',
        'batch_size',
        'eval_batch_size',
        'microbatches',
        'fsdp',
        'log_every',
        'eval_every_epochs',
        'checkpoint.keep',
        'model.num_steps',
    ):
        require(key, 'at least 1', lambda value: value >= 1)
    require('seed', 'at least 0 and below 2**64', lambda value: value in SEEDS)
    for key in (
        'steps_per_call',
        'max_non_finite',
        'checkpoint.every_steps',
        'checkpoint.every_minutes',
        'optimizer.weight_decay',
        'optimizer.grad_clip_norm',
    ):
        require(key, 'at least 0', lambda value: value >= 0)
    for key in ('label_smoothing', 'ema_decay', 'optimizer.momentum'):
        require(key, 'at least 0 and below 1', lambda value: 0 <= value < 1)
    require('optimizer.learning_rate', 'above 0', lambda value: 0 < value < math.inf)
    epochs = config.epochs
    require(
        'optimizer.warmup_epochs',
        f'at least 0 and below epochs={epochs}',
        lambda value: 0 <= value < epochs,
    )
    for key, known in (
        ('loss', LOSSES),
        ('optimizer.name', OPTIMIZERS),
        ('optimizer.schedule', SCHEDULES),
    ):
        if values[key] not in known:
            raise ConfigError(f'unknown {key} {values[key]!r}; {did_you_mean(values[key], known)}')
    check_options(config.optimizer)
    try:
        check_loggers(logger_names(config))
    except LoggerError as error:
        raise ConfigError(f'loggers: {error}') from error
    policies = ('stop', 'skip', 'rollback')
    require('on_non_finite', f'one of {", ".join(policies)}', lambda value: value in policies)
    if config.on_non_finite == 'rollback':
        # The newest checkpoint may be damaged.
        expected = 'at least 2 if on_non_finite is rollback'
        require('checkpoint.keep', expected, lambda value: value >= 2)
    require('steps_per_call', 'at most 10,000', lambda value: value <= 10_000)
    devices = f'the {count(num_devices, "device")}'
    require('fsdp', f'a divisor of {devices}', lambda value: num_devices % value == 0)
    require_multiple('batch_size', num_devices, devices)
    require_multiple('eval_batch_size', num_devices, devices)
    microbatches = config.microbatches
    require_multiple(
        'batch_size', microbatches * num_devices, f'microbatches={microbatches} times {devices}'
    )
    if config.data.mixup or config.data.cutmix:
        require(
            'batch_size',
            'a multiple of twice the number of processes: neighbors are mixed',
            lambda value: value % (2 * jax.process_count()) == 0,
        )
    find_weights(config.init_from)
