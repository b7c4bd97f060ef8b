"""Optimizers and learning-rate schedules; the paper uses SGD with momentum and a cosine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from snnjax.errors import ConfigError
from snnjax.spelling import did_you_mean
from snnjax.train.gradients import clip_by_norm


def cosine(learning_rate: float, num_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Builds a cosine decay from the learning rate to zero."""
    del steps_per_epoch
    return optax.cosine_decay_schedule(learning_rate, num_steps)


def step(
    learning_rate: float,
    num_steps: int,
    steps_per_epoch: int,
    *,
    epochs: Sequence[float] = (),
    factor: float = 0.1,
) -> optax.Schedule:
    """Builds a schedule that multiplies the learning rate by a factor after certain epochs.

    Args:
      learning_rate: the learning rate of the first epochs.
      num_steps: the number of steps after the warm-up.
      steps_per_epoch: the number of steps per epoch.
      epochs: the epochs of the reductions, counted from the end of the warm-up; () for one half and
        three quarters of the steps.
      factor: the factor of each reduction.
    """
    steps = [round(epoch * steps_per_epoch) for epoch in epochs]
    steps = steps or [num_steps // 2, 3 * num_steps // 4]
    return optax.piecewise_constant_schedule(learning_rate, dict.fromkeys(steps, factor))


def constant(learning_rate: float, num_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Builds a constant learning rate."""
    del num_steps, steps_per_epoch
    return optax.constant_schedule(learning_rate)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    'cosine': cosine,
    'step': step,
    'constant': constant,
}
"""Schedules by name, ``(learning_rate, num_steps, steps_per_epoch, **options) -> schedule``.

A schedule is a function of the step, as in Optax. It may follow a linear warm-up, whose steps are
not included in ``num_steps``.
"""


def sgd(
    schedule: optax.Schedule, *, momentum: float = 0.9, nesterov: bool = False
) -> optax.GradientTransformation:
    """Builds stochastic gradient descent; momentum 0 means without momentum."""
    return optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov)


def adam(
    schedule: optax.Schedule, *, momentum: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Builds Adam; ``momentum`` is its first beta."""
    return optax.adam(schedule, b1=momentum, b2=b2, eps=eps)


def adamw(
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
) -> optax.GradientTransformation:
    """Builds Adam with decoupled decay of kernels (Loshchilov & Hutter 2019)."""
    return optax.adamw(
        schedule, b1=momentum, b2=b2, eps=eps, weight_decay=weight_decay, mask=is_kernel
    )


def lamb(
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Builds LAMB, for large batches (You et al. 2020)."""
    return optax.lamb(
        schedule, b1=momentum, b2=b2, eps=eps, weight_decay=weight_decay, mask=is_kernel
    )


def lion(
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
) -> optax.GradientTransformation:
    """Builds Lion (Chen et al. 2023), which steps by the sign of an averaged gradient."""
    return optax.lion(schedule, b1=momentum, b2=b2, weight_decay=weight_decay, mask=is_kernel)


def is_kernel(params: Any) -> Any:
    """Returns the mask of the parameters with decoupled decay: those with two or more axes.

    Scales and biases of normalization, and learned constants of neurons, do not decay.
    """
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    'sgd': sgd,
    'adam': adam,
    'adamw': adamw,
    'lamb': lamb,
    'lion': lion,
}
"""Optimizers by name, ``(schedule, **options) -> gradient transformation``.

The options ``momentum`` and ``weight_decay`` get the values of these keys of the configuration; all
other options come from ``optimizer.options``. An optimizer without ``weight_decay`` gets an L2
penalty instead, see `make_optimizer`. Most functions of Optax can be used as entries.
"""


def make_schedule(
    config: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int
) -> optax.Schedule:
    """Builds the configured learning rate as a function of the step.

    Args:
      config: the ``optimizer`` section of the configuration.
      steps_per_epoch: the number of steps per epoch.
      num_steps: the number of steps of the training.
    """
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    make = SCHEDULES[config.schedule]
    options = dict(config.schedule_options)
    schedule = make(config.learning_rate, num_steps - warmup_steps, steps_per_epoch, **options)
    if warmup_steps:
        warmup = optax.linear_schedule(0.0, config.learning_rate, warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [warmup_steps])

    def learning_rate(step: jax.Array | int) -> jax.Array:
        # Optax multiplies the integer count of steps by floats.
        with jax.numpy_dtype_promotion('standard'):
            return schedule(step)

    return learning_rate


def make_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Builds the configured optimizer.

    The gradient is first scaled to a norm of at most ``grad_clip_norm``, unless that is 0. An
    optimizer without weight decay of its own gets an L2 penalty on every parameter, which is added
    to the gradient before momentum. The authors' framework does the same for the paper's "L2
    penalty" of 1e-4 (B.2); decoupled weight decay is another method.
    """
    make = OPTIMIZERS[config.name]
    known = _options_of(make, 1)
    options = {key: config[key] for key in _OF_ALL if key in known}
    penalty = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(
        *([clip_by_norm(config.grad_clip_norm)] if config.grad_clip_norm else []),
        *([] if 'weight_decay' in known else [penalty]),
        make(schedule, **options, **config.options),
    )


# Options that have a key of their own in the configuration.
_OF_ALL = ('momentum', 'weight_decay')


def check_options(config: ml_collections.ConfigDict) -> None:
    """Checks the options of the configured optimizer and schedule.

    Raises:
      ConfigError: if an option is unknown, with similar names; or if its value is invalid.
    """
    schedule, optimizer = SCHEDULES[config.schedule], OPTIMIZERS[config.name]
    for kind, name, options, known in (
        ('optimizer.options', config.name, config.options, _options_of(optimizer, 1)),
        (
            'optimizer.schedule_options',
            config.schedule,
            config.schedule_options,
            _options_of(schedule, 3),
        ),
    ):
        for key in options:
            if key in _OF_ALL:
                raise ConfigError(f'{kind}.{key} has a key of its own: give optimizer.{key}')
            if key not in known:
                raise ConfigError(f'{kind}: {name} has no {key!r}; {did_you_mean(key, known)}')
    try:
        make_optimizer(config, schedule(config.learning_rate, 2, 1, **config.schedule_options))
    except (TypeError, ValueError) as error:
        raise ConfigError(f'optimizer {config.name}, {config.schedule}: {error}') from error


def _options_of(function: Callable[..., Any], required: int) -> list[str]:
    """Returns the names of a function's arguments after the first ``required`` ones."""
    return list(inspect.signature(function).parameters)[required:]
