"""The state of training."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from snnjax.models import Network
from snnjax.models.params import trained_part


class TrainState(NamedTuple):
    """The state of training. With the position in the data, a run can be resumed bit for bit.

    Attributes:
      step: the number of steps taken, int32.
      params: the model's parameters, float32.
      batch_stats: the running means and variances, float32.
      opt_state: the optimizer state.
      average: the exponential moving average of ``params`` and ``batch_stats``, or None.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    average: dict[str, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The current variables of the model."""
        return {'params': self.params, 'batch_stats': self.batch_stats}

    @property
    def evaluated(self) -> dict[str, Any]:
        """The variables to evaluate: the average if there is one."""
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
    """Returns the initial variables for images of ``image_shape``, (H, W, C)."""
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
    """Returns the initial state for images of ``image_shape``, (H, W, C)."""
    variables = init_variables(model, image_shape, seed)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        batch_stats=variables['batch_stats'],
        opt_state=optimizer.init(variables['params']),
    )
    return state._replace(average=state.variables) if average else state


def count_parameters(params: Any) -> int:
    """Returns the number of parameters in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
