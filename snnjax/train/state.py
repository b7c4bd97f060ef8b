"""Everything that a training step changes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from snnjax.models import Network
from snnjax.models.params import trained_part


class TrainState(NamedTuple):
    """The state of training: with the data's position, all that continuing it bit by bit takes.

    Attributes:
      step: steps taken, int32.
      params: the model's parameters, float32.
      batch_stats: running means and variances, float32.
      opt_state: of the optimiser.
      average: ``params`` and ``batch_stats``, averaged exponentially over the steps; or None.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    average: dict[str, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The model's, as training has them now."""
        return {'params': self.params, 'batch_stats': self.batch_stats}

    @property
    def evaluated(self) -> dict[str, Any]:
        """The variables that evaluation takes, and that the run is for: the average if any."""
        return self.average or self.variables


SEEDS = range(2**64)
"""The seeds that `key_of_seed` takes."""


def key_of_seed(seed: int) -> jax.Array:
    """Returns a PRNG key that no other seed of `SEEDS` has.

    Below ``2**32`` it is ``jax.random.key(seed)``, which ignores higher bits unless JAX computes in
    64 bits. These go into the first word of the key, which is 0 for smaller seeds.
    """
    words = jax.random.key_data(jax.random.key(seed % 2**32))
    return jax.random.wrap_key_data(words.at[0].set(np.uint32(seed >> 32)))


def init_variables(model: Network, image_shape: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Returns the variables that a training begins with, for images of ``image_shape``."""
    images = jnp.zeros((1, *image_shape), jnp.float32)
    variables = model.init(key_of_seed(seed), images, train=False)
    return trained_part(variables)


def init_state(
    model: Network,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    seed: int,
    average: bool = False,
) -> TrainState:
    """A new state, for images of ``image_shape`` (H, W, C), with an ``average`` or without."""
    variables = init_variables(model, image_shape, seed)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        batch_stats=variables['batch_stats'],
        opt_state=optimizer.init(variables['params']),
    )
    return state._replace(average=state.variables) if average else state


def count_parameters(params: Any) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
