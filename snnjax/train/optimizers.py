"""Optimisers with an L2 penalty and a cosine schedule; the paper's is SGD with momentum."""

from __future__ import annotations

import jax
import ml_collections
import optax

from snnjax.train.gradients import clip_by_norm


def make_schedule(
    config: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int
) -> optax.Schedule:
    """Learning rate by step: linear warm-up if any, then a cosine to zero at ``num_steps``."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if warmup_steps == 0:
        schedule = optax.cosine_decay_schedule(config.learning_rate, num_steps)
    else:
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, config.learning_rate, warmup_steps, decay_steps=num_steps
        )

    def learning_rate(step: jax.Array | int) -> jax.Array:
        # Optax multiplies the integer count of steps by floats.
        with jax.numpy_dtype_promotion('standard'):
            return schedule(step)

    return learning_rate


def _sgd(schedule: optax.Schedule, momentum: float) -> optax.GradientTransformation:
    return optax.sgd(schedule, momentum=momentum or None)


def _adam(schedule: optax.Schedule, momentum: float) -> optax.GradientTransformation:
    return optax.adam(schedule, b1=momentum)


OPTIMIZERS = {'sgd': _sgd, 'adam': _adam}
"""``(schedule, momentum) -> optimiser`` by name; Adam's other constants are 0.999 and 1e-8."""


def make_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """An optimiser whose L2 penalty acts through the gradient, on every parameter, before momentum.

    That is what the paper's "L2 penalty" of 1e-4 (B.2) is in the authors' framework; weight decay
    apart from the gradient would be another method. Before the penalty the gradient is scaled to a
    norm of at most ``clip_norm``, unless that is 0.
    """
    return optax.chain(
        *([clip_by_norm(config.clip_norm)] if config.clip_norm else []),
        optax.add_decayed_weights(config.weight_decay),
        OPTIMIZERS[config.name](schedule, config.momentum),
    )
