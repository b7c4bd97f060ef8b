"""What training makes small: functions of a network's output and of what it should be."""

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
      of: ``(logits, targets) -> losses``, one an image, (B,), of targets (B, classes), the
        probability of each class.
      steps: whether its logits are those of every time step, (B, T, classes), instead of their mean
        over time, (B, classes).
    """

    of: Callable[[jax.Array, jax.Array], jax.Array]
    steps: bool = False

    def model(self, model: Network) -> Network:
        """The network with the logits that the loss is of."""
        return model.clone(step_logits=self.steps)

    def mean_logits(self, logits: jax.Array) -> jax.Array:
        """(B, classes), whatever the loss is of."""
        return logits.mean(axis=1) if self.steps else logits


def _mean_squared_error(rates: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(rates - targets), axis=-1)


def _cross_entropy_of_steps(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy(logits, targets[:, None]), axis=1)


cross_entropy = Loss(optax.softmax_cross_entropy)
"""Of the softmax of the mean logits over time."""

mse = Loss(_mean_squared_error)
"""The mean over the classes of the squared distance between firing rates and targets."""

tet = Loss(_cross_entropy_of_steps, steps=True)
"""The mean over time of the cross-entropy of each step: temporal efficient training (Deng et al.
2022), without its regularisation."""

LOSSES: dict[str, Loss] = {'cross_entropy': cross_entropy, 'mse': mse, 'tet': tet}
