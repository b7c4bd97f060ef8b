"""Simulation of converted networks over many time steps, with the logits of every step.

The simulation runs in parts. Convolutions run over all images and steps of a part at once, and only
membrane potentials pass from one part to the next.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.models import Network
from snnjax.models.layers import SpikingNeurons
from snnjax.models.observation import SYNAPSES, capture_layers
from snnjax.models.streaming import initial_state

Variables = Mapping[str, Any]

STEPS_PER_PART = 16
"""The number of time steps that are computed at once. A layer's activations of these steps are in
memory at the same time."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a simulation of one batch.

    Attributes:
      logits: the means of the logits over the first 1, 2, ..., T steps, of shape (T, B, classes).
        The means of a rollout start at its first response.
      spikes: the number of spikes of all images and neurons of a layer in each step, int64 of shape
        (T,), by layer.
      inputs: the number of nonzero inputs of convolutions and fully connected layers, int64 of
        shape (T,), by layer. Only layers that are computed in each step are included.
    """

    logits: np.ndarray
    spikes: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]


def simulate(
    model: Network,
    variables: Variables,
    images: jax.Array,
    num_steps: int,
    *,
    mask: jax.Array | None = None,
    steps_per_part: int = STEPS_PER_PART,
) -> Outcome:
    """Simulates a network from the first step to the last.

    Args:
      model: a network of `snnjax.neurons.amplitude.integrate_and_fire`, or of another neuron that
        can continue from a membrane potential.
      variables: the variables of the network, unstacked.
      images: a normalized float array of shape (B, H, W, C) or (B, T, H, W, C).
      num_steps: the number of time steps T, at least 1 and at most the number of frames. The
        model's own number is ignored.
      mask: a boolean array of shape (B,), False for images whose spikes do not count.
      steps_per_part: the number of time steps that are computed at once.

    Raises:
      ValueError: if there are fewer frames than time steps.
    """
    size = min(num_steps, steps_per_part)
    if images.ndim == 5 and images.shape[1] < num_steps:
        raise ValueError(
            f'num_steps={num_steps} must be at most {images.shape[1]}, the number of frames'
        )
    first = min(model.first_response, num_steps - 1)
    model = model.unrolled().clone(num_steps=size, step_logits=True)
    start, advance = _compile(model)
    mask = jnp.ones(len(images), bool) if mask is None else jnp.asarray(mask)
    state = start(variables, _part(images, 0, size))
    logits, spikes = [], []
    for part in range(-(-num_steps // size)):
        seen = _part(images, part, size)
        state, of_part, counts = advance(variables, state, seen, mask)
        logits.append(of_part)
        spikes.append(counts)
    steps = np.concatenate(jax.device_get(logits), axis=1)[:, :num_steps]
    of_parts = zip(*jax.device_get(spikes), strict=True)
    spikes_of, inputs_of = (
        {
            name: np.concatenate([part[name] for part in kind])[:num_steps].astype(np.int64)
            for name in kind[0]
        }
        for kind in of_parts
    )
    return Outcome(np.moveaxis(running_means(steps, first), 1, 0), spikes_of, inputs_of)


def running_means(logits: np.ndarray, first: int = 0) -> np.ndarray:
    """Returns the means over time up to each step, float64 of shape (B, T, classes).

    Args:
      logits: the logits of each step, of shape (B, T, classes).
      first: the index of the first step of the means. Before it the result is the logits
        themselves.
    """
    means = np.array(logits, np.float64)
    counts = np.arange(1, means.shape[1] - first + 1)[:, None]
    means[:, first:] = np.cumsum(means[:, first:], axis=1) / counts
    return means


def _part(images: jax.Array, part: int, size: int) -> jax.Array:
    """Returns the frames of a part, padded with zeros at the end; a static image is unchanged."""
    if images.ndim == 4:
        return images
    frames = images[:, part * size : (part + 1) * size]
    return jnp.pad(frames, [(0, 0), (0, size - frames.shape[1])] + [(0, 0)] * 3)


@functools.lru_cache(maxsize=16)
def _compile(model: Network) -> tuple[Any, Any]:
    """Returns functions for the initial state and for the simulation of one part from a state."""

    @jax.jit
    def start(variables: Variables, images: jax.Array) -> Any:
        return initial_state(model, variables, images)

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(variables: Variables, state: Any, images: jax.Array, mask: jax.Array) -> Any:
        with capture_layers(SpikingNeurons, *SYNAPSES) as calls:
            logits, updates = model.apply(
                {**variables, 'membrane': state}, images, mutable=['membrane']
            )
        spikes, inputs = {}, {}
        for call in calls:
            name = '/'.join(call.path)
            if isinstance(call.module, SpikingNeurons):
                spikes[name] = _count(call.output, mask)
            elif call.input.ndim == 5 and call.input.shape[1] == model.num_steps:
                inputs[name] = _count(call.input, mask)
        return updates['membrane'], logits, (spikes, inputs)

    return start, advance


def _count(spikes: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the number of nonzero values of each step, over the images in the mask."""
    fired = (spikes != 0) & mask.reshape(-1, *[1] * (spikes.ndim - 1))
    return jnp.sum(fired, axis=(0, 2, 3, 4), dtype=jnp.int32)


def correct(logits: np.ndarray, labels: Any, mask: Any, steps: Sequence[int]) -> dict[int, int]:
    """Returns the number of correctly classified images after some numbers of steps.

    Args:
      logits: the logits of shape (T, B, classes), see `Outcome`.
      labels: an integer array of shape (B,).
      mask: a boolean array of shape (B,), False for padding.
      steps: the numbers of steps, from 1 to T.
    """
    hits = (np.argmax(logits, axis=-1) == np.asarray(labels)) & np.asarray(mask)
    return {step: int(hits[step - 1].sum()) for step in steps}


def mean_outputs(
    model: Network, variables: Variables, images: jax.Array, num_steps: int
) -> dict[str, jax.Array]:
    """Returns the means over time of the outputs of all layers, of shape (B, H, W, C), by name.

    Args:
      model: a spiking network.
      variables: the variables of the network.
      images: a normalized float array of shape (B, H, W, C).
      num_steps: the number of time steps T.
    """
    total: Any = None
    state, done = None, 0
    while done < num_steps:
        size = min(STEPS_PER_PART, num_steps - done)
        part = model.unrolled().clone(num_steps=size)
        state = initial_state(part, variables, images) if state is None else state
        state, of_part = _sum_outputs(part)(variables, state, images)
        total = of_part if total is None else jax.tree.map(jnp.add, total, of_part)
        done += size
    return {name: value / num_steps for name, value in total.items()}


@functools.lru_cache(maxsize=8)
def _sum_outputs(model: Network) -> Any:
    @jax.jit
    def advance(variables: Any, state: Any, images: jax.Array) -> Any:
        with capture_layers(SpikingNeurons) as calls:
            _, updates = model.apply({**variables, 'membrane': state}, images, mutable=['membrane'])
        sums = {'/'.join(call.path): jnp.sum(call.output, axis=1) for call in calls}
        return updates['membrane'], sums

    return advance
