"""Everything that a training step changes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from snnjax.models import Network


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


def init_state(
    model: Network,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    seed: int,
    average: bool = False,
) -> TrainState:
    """A new state, for images of ``image_shape`` (H, W, C), with an ``average`` or without."""
    variables = model.init(jax.random.key(seed), jnp.zeros((1, *image_shape)), train=False)
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
