"""Detection of numbers that are not finite in each training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from snnjax.errors import EXIT_FAILED, UserError
from snnjax.models.params import by_name, forward_order, layer_of, unstack_layers
from snnjax.train.state import TrainState


class NonFiniteError(UserError, ArithmeticError):
    """A training step whose numbers are not all finite.

    Attributes:
      step: the step of the run that failed.
      place: the first place with non-finite numbers, see `places`.
      position: the position of the log, to continue with other weights; None if the run has to end.
    """

    exit_status = EXIT_FAILED
    advice = (
        'the step is in no checkpoint; to go on from the last one without the images of this step, '
        'add --config.on_non_finite=skip, or =rollback; a new run may need a lower '
        'optimizer.learning_rate, or optimizer.grad_clip_norm'
    )

    def __init__(
        self, step: int, place: str, reason: str = '', position: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f'step {step:,}: {place} not finite{reason}')
        self.step = step
        self.place = place
        self.position = position


def places(variables: Mapping[str, Any]) -> list[str]:
    """Returns the places that `first_fault` checks, as text, in the order of the computation.

    The statistics of batch normalization come first, from the first layer to the last: a neuron
    with a NaN input does not fire, so the loss alone would not show it. The loss is next, and then
    the parameters after the step, from the last layer to the first. The optimizer state is last:
    once Adam's second moment is infinite, its parameter no longer changes.

    Args:
      variables: the variables of the model or their shapes, ``params`` and ``batch_stats``.
    """
    shapes = jax.eval_shape(lambda: unstack_layers(variables))
    forward = _by_layer(shapes['batch_stats'])
    backward = reversed(_by_layer(shapes['params']))
    return [
        *(f'the statistics of {layer} are' for layer in forward),
        'the loss is',
        *(f'the updated parameters of {layer} are' for layer in backward),
        "the optimizer's state is",
    ]


def first_fault(state: TrainState, loss: jax.Array) -> jax.Array:
    """Returns the first place that is not finite, as an int32 scalar.

    The result is 1 plus the index in `places`, or 0 if all numbers are finite.

    Args:
      state: the state after the step, behind an optimization barrier. Without the barrier, the
        compiler keeps activations longer, see ``docs/decisions/non-finite.md``.
      loss: the loss of the batch, a scalar.
    """
    forward = _by_layer(unstack_layers(state.batch_stats)).values()
    backward = reversed(_by_layer(unstack_layers(state.params)).values())
    optimizer = [leaf for leaf in jax.tree.leaves(state.opt_state) if not _counts(leaf)]
    parts = (*forward, [loss], *backward, optimizer)
    finite = jnp.stack([_is_finite(part) for part in parts])
    return jnp.where(jnp.all(finite), 0, 1 + jnp.argmin(finite)).astype(jnp.int32)


def keep_if(fault_free: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """Returns ``new`` if ``fault_free``, else ``old`` with the step counters of ``new``."""
    return jax.tree.map(
        lambda after, before: after if _counts(after) else jnp.where(fault_free, after, before),
        new,
        old,
    )


def passed_over(state: TrainState, steps: int) -> TrainState:
    """Returns a state whose step counters are ``steps`` higher."""
    return jax.tree.map(lambda leaf: leaf + steps if _counts(leaf) else leaf, state)


def _counts(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.integer)


def _is_finite(leaves: list[jax.Array]) -> jax.Array:
    # The list may be empty: plain gradient descent has no state.
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves], bool))


def _by_layer(tree: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Groups arrays by layer, such as ``stage1/block2/conv1``, in the forward order."""
    layers: dict[str, list[Any]] = {}
    for name, leaf in by_name(tree).items():
        layers.setdefault(layer_of(name), []).append(leaf)
    return {layer: layers[layer] for layer in sorted(layers, key=forward_order)}
