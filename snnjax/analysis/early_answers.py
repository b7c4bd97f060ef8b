"""Accuracy over the time since the first event, before a recording ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.analysis.trained import ModelOnData


def measure_early_answers(trained: ModelOnData) -> list[dict[str, Any]]:
    """Measures the accuracy after each time step, in one pass over the examples.

    The prediction after time step t is the class with the largest logit, averaged over the time
    steps up to t. A rollout predicts nothing before its first response; its averages begin there.

    Args:
      trained: the model and its examples.

    Returns:
      A row per time step, from the first response on. ``num_steps`` is the number of time steps
      seen so far and ``share`` the same number divided by T. ``milliseconds`` is the time since
      the first event, or None if frames have no fixed duration. ``accuracy`` is that of the
      averaged logits, ``step_accuracy`` that of the logits of this time step alone, and
      ``images`` the number of examples.
    """
    model = trained.model.clone(step_logits=True)
    first = model.first_response

    def step(variables: Any, batch: Mapping[str, jax.Array]) -> Any:
        logits: Any = model.apply(variables, trained.normalized(batch))
        answers = logits[:, first:]
        counts = jnp.arange(1, answers.shape[1] + 1, dtype=answers.dtype)
        means = jnp.cumsum(answers, axis=1) / counts[:, None]
        return {
            'images': jnp.sum(batch['mask']),
            'means': _correct(means, batch),
            'steps': _correct(answers, batch),
        }

    sums = list(trained.measure(step, 'answering'))
    images = sum(int(each['images']) for each in sums)
    means, steps = (np.sum([each[key] for each in sums], axis=0) for key in ('means', 'steps'))
    duration = _milliseconds(trained)
    total = first + len(means)
    return [
        {
            'num_steps': first + i,
            'share': (first + i) / total,
            'milliseconds': (first + i) * duration if duration else None,
            'images': images,
            'accuracy': float(means[i - 1]) / images,
            'step_accuracy': float(steps[i - 1]) / images,
        }
        for i in range(1, len(means) + 1)
    ]


def _correct(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the number of correct predictions at each time step, shape (T,)."""
    right = jnp.argmax(logits, axis=-1) == batch['label'][:, None]
    return jnp.sum(right & batch['mask'][:, None], axis=0)


def _milliseconds(trained: ModelOnData) -> float | None:
    """Returns the duration of a frame in milliseconds; None if frames have no fixed duration."""
    data = trained.data
    fixed = data.frames_by == 'time' and data.frame_window
    return data.frame_window / 1000 if fixed and len(trained.image_shape) == 4 else None
