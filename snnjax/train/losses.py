"""Loss functions of the logits and the targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from snnjax.models import Network


class Loss(NamedTuple):
    """A loss.

    Attributes:
      of: a function ``(logits, targets) -> losses``. The targets are the probabilities of the
        classes, (B, classes); the losses have the shape (B,).
      steps: true if the logits are those of every time step, (B, T, classes), instead of their mean
        over time, (B, classes).
    """

    of: Callable[[jax.Array, jax.Array], jax.Array]
    steps: bool = False

    def model(self, model: Network) -> Network:
        """Returns the network with the logits that the loss needs."""
        return model.clone(step_logits=self.steps)

    def mean_logits(self, logits: jax.Array) -> jax.Array:
        """Returns the logits averaged over time, (B, classes)."""
        return logits.mean(axis=1) if self.steps else logits


def _mean_squared_error(rates: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(rates - targets), axis=-1)


def _cross_entropy_of_steps(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy(logits, targets[:, None]), axis=1)


cross_entropy = Loss(optax.softmax_cross_entropy)
"""The cross-entropy of the softmax of the logits averaged over time."""

mse = Loss(_mean_squared_error)
"""The squared difference between firing rates and targets, averaged over the classes."""

tet = Loss(_cross_entropy_of_steps, steps=True)
"""The cross-entropy of each time step, averaged over time: temporal efficient training (Deng et al.
2022), without its regularization."""

LOSSES: dict[str, Loss] = {'cross_entropy': cross_entropy, 'mse': mse, 'tet': tet}
