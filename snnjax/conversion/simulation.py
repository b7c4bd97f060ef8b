"""Simulates converted networks over long times, in parts, with the logits of every time step.

Convolutions run over all images and steps of a part at once; only membrane potentials go from one
part to the next.
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
"""Time steps that are computed at once. A layer's activations of this many are in memory."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was simulated for one batch.

    Attributes:
      logits: means of the logits over the first 1, 2, ..., T steps, (T, B, classes); of a rollout,
        over those of them from its first response on.
      spikes: spikes of all images and neurons of a layer in each step, int64 (T,) by layer.
      inputs: inputs of convolutions and fully connected layers that are not zero, likewise; only of
        those that are computed in each step.
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
      model: network of `snnjax.neurons.amplitude.integrate_and_fire`, or another neuron that can
        continue from a membrane potential.
      variables: its own, layers not stacked.
      images: normalized floats (B, H, W, C), or (B, T, H, W, C).
      num_steps: time steps T, at least 1; the model's own number does not matter. At most the
        number of frames if there are frames.
      mask: booleans (B,), false for images whose spikes do not count.
      steps_per_part: time steps that are computed at once.
    """
    size = min(num_steps, steps_per_part)
    if images.ndim == 5 and images.shape[1] < num_steps:
        raise ValueError(f'num_steps={num_steps} is more than the {images.shape[1]} frames')
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
    """Returns the means over time up to each step, float64 (B, T, classes).

    Args:
      logits: logits of each step, (B, T, classes).
      first: index of the step that means begin with. Before it they are the logits themselves.
    """
    means = np.array(logits, np.float64)
    counts = np.arange(1, means.shape[1] - first + 1)[:, None]
    means[:, first:] = np.cumsum(means[:, first:], axis=1) / counts
    return means


def _part(images: jax.Array, part: int, size: int) -> jax.Array:
    """Returns the frames of a part, zeros behind the last ones; a static image as it is."""
    if images.ndim == 4:
        return images
    frames = images[:, part * size : (part + 1) * size]
    return jnp.pad(frames, [(0, 0), (0, size - frames.shape[1])] + [(0, 0)] * 3)


@functools.lru_cache(maxsize=16)
def _compile(model: Network) -> tuple[Any, Any]:
    """Returns ``(variables, images) -> state`` and what takes a state a part further."""

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
    """Returns how many values of each step are not zero, for the images that count."""
    fired = (spikes != 0) & mask.reshape(-1, *[1] * (spikes.ndim - 1))
    return jnp.sum(fired, axis=(0, 2, 3, 4), dtype=jnp.int32)


def correct(logits: np.ndarray, labels: Any, mask: Any, steps: Sequence[int]) -> dict[int, int]:
    """Returns how many images are classified as what they are, after some numbers of steps.

    Args:
      logits: (T, B, classes), see `Outcome`.
      labels: integers (B,).
      mask: booleans (B,), false for padding.
      steps: numbers of steps, from 1 to T.
    """
    hits = (np.argmax(logits, axis=-1) == np.asarray(labels)) & np.asarray(mask)
    return {step: int(hits[step - 1].sum()) for step in steps}
