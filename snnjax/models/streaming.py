"""Runs a network frame by frame, as events arrive.

All that goes from one time step to the next is in the collection ``membrane``: membrane potentials,
counts of spikes, and in a rollout the outputs of all nodes, see `snnjax.models.rollouts`. There no
layer waits for another one, so that a step takes as long as the slowest layer if layers run side by
side. T frames cost T evaluations of the network, and not T times its depth.
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
    """Returns the collection ``membrane`` as it is before the first step.

    Args:
      model: the network, each of its layers for itself.
      variables: its own.
      images: (B, H, W, C), or (B, T, H, W, C).
    """
    with capture_layers(SpikingNeurons) as calls:
        _, updates = jax.eval_shape(
            functools.partial(model.apply, mutable=['membrane']), dict(variables), images
        )
    # Counts, outputs and the like begin at 0.
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
    """Takes a network one time step further; returns the state and the logits (B, classes).

    Args:
      model: network, see `stream`.
      variables: its own, layers not stacked.
      state: the state that the step before has left; at first that of `start`.
      frame: normalized floats (B, H, W, C).
    """
    logits, updates = _of_one_step(model).apply(
        {**variables, 'membrane': state}, frame[:, None], mutable=['membrane']
    )
    return updates.get('membrane', {}), logits[:, 0]


def start(model: Network, variables: Variables, frame: jax.Array) -> dict[str, Any]:
    """Returns the state before the first frame, whose shape and dtype alone matter."""
    return initial_state(_of_one_step(model), variables, frame[:, None])


def stream(model: Network, variables: Variables, frames: jax.Array) -> jax.Array:
    """Runs a network over frames in one loop; returns the logits of each step (B, T, classes).

    It computes what the network computes with ``step_logits`` over the whole sequence.

    Args:
      model: network of activations, or of neurons that can continue from a membrane potential, as
        those of converted networks.
      variables: its own, layers not stacked.
      frames: normalized floats (B, T, H, W, C).

    Raises:
      ValueError: for neurons that cannot continue.
    """
    by_time = jnp.moveaxis(frames, 1, 0)
    begin = start(model, variables, by_time[0])
    _, logits = jax.lax.scan(functools.partial(advance, model, variables), begin, by_time)
    return jnp.moveaxis(logits, 0, 1)


def _of_one_step(model: Network) -> Network:
    return model.unrolled().clone(num_steps=1, step_logits=True)
