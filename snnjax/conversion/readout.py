"""The spiking softmax output, an alternative to the largest mean of the logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def softmax_spikes(logits: np.ndarray, key: jax.Array) -> np.ndarray:
    """Draws the spikes of a softmax layer (Rueckauer et al. 2017).

    Neurons of the output only integrate and are not reset. In each step, each of them fires
    independently, with its probability under the softmax of all potentials.

    Args:
      logits: the means of the logits over the first 1, 2, ..., T steps, of shape (T, B, classes),
        as `simulate` returns them.
      key: the PRNG key.

    Returns:
      A boolean array of shape (T, B, classes).
    """
    steps = np.arange(1, len(logits) + 1).reshape(-1, 1, 1)
    probability = jax.nn.softmax(jnp.asarray(steps * logits), axis=-1)
    return np.asarray(jax.random.uniform(key, logits.shape, probability.dtype) < probability)


def decide_by_count(spikes: np.ndarray) -> np.ndarray:
    """Returns the classes that have fired most after each step; ties go to the first class.

    Args:
      spikes: a boolean array of shape (T, B, classes).

    Returns:
      An integer array of shape (T, B); -1 for an image whose output has not fired yet, which counts
      as wrong.
    """
    counts = np.cumsum(spikes, axis=0)
    return np.where(counts.any(axis=-1), counts.argmax(axis=-1), -1)
