"""Frame-by-frame evaluation of a network, as events arrive.

The collection ``membrane`` holds all state between time steps: membrane potentials, spike counts,
and in a rollout the outputs of all nodes (`snnjax.models.rollouts`). No layer of a rollout waits
for another within a step, so a step takes as long as the slowest layer if layers run in parallel.
T frames cost T evaluations of the network, not T times its depth.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from snnjax.models.layers import SpikingNeurons
from snnjax.models.network import Network
from snnjax.models.observation import capture_layers
from snnjax.models.params import by_name, nested

Variables = Mapping[str, Any]


def initial_state(model: Network, variables: Variables, images: jax.Array) -> dict[str, Any]:
    """Returns the collection ``membrane`` before the first step.

    Args:
      model: the network, with unrolled layers.
      variables: the variables of the network, unstacked.
      images: a float array of shape (B, H, W, C) or (B, T, H, W, C).
    """
    with capture_layers(SpikingNeurons) as calls:
        _, updates = jax.eval_shape(
            functools.partial(model.apply, mutable=['membrane']), dict(variables), images
        )
    # Spike counts and outputs begin at 0.
    shapes = by_name(updates.get('membrane', {}))
    arrays = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    for call in calls:
        params: Any = functools.reduce(
            lambda tree, name: tree.get(name, {}), call.path, variables['params']
        )
        layer: Any = call.module
        step = jax.eval_shape(lambda x: x[:, 0], call.input)
        arrays['/'.join((*call.path, 'potential'))] = layer.start(step, layer.all_options(params))
    return nested(arrays)


def advance(
    model: Network, variables: Variables, state: Any, frame: jax.Array
) -> tuple[dict[str, Any], jax.Array]:
    """Advances a network by one time step; returns the state and the logits (B, classes).

    Args:
      model: the network, see `stream`.
      variables: the variables of the network, unstacked.
      state: the state after the previous step; that of `start` at first.
      frame: a normalized float array of shape (B, H, W, C).
    """
    logits, updates = _of_one_step(model).apply(
        {**variables, 'membrane': state}, frame[:, None], mutable=['membrane']
    )
    return updates.get('membrane', {}), logits[:, 0]


def start(model: Network, variables: Variables, frame: jax.Array) -> dict[str, Any]:
    """Returns the state before the first frame; only the frame's shape and dtype matter."""
    return initial_state(_of_one_step(model), variables, frame[:, None])


def stream(model: Network, variables: Variables, frames: jax.Array) -> jax.Array:
    """Runs a network over frames in one loop; returns the logits of each step (B, T, classes).

    The result equals that of the network with ``step_logits`` over the whole sequence.

    Args:
      model: a network of activations, or of neurons that can continue from a membrane potential,
        such as those of converted networks.
      variables: the variables of the network, unstacked.
      frames: a normalized float array of shape (B, T, H, W, C).

    Raises:
      ValueError: if the neurons cannot continue from a membrane potential.
    """
    by_time = jnp.moveaxis(frames, 1, 0)
    begin = start(model, variables, by_time[0])
    _, logits = jax.lax.scan(functools.partial(advance, model, variables), begin, by_time)
    return jnp.moveaxis(logits, 0, 1)


def _of_one_step(model: Network) -> Network:
    return model.unrolled().clone(num_steps=1, step_logits=True)
