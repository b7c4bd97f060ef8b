"""Calibration of biases and of initial membrane potentials, layer by layer (Li et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.conversion.calibration import least_squares
from snnjax.conversion.network import (
    Ann,
    Batch,
    Calibration,
    ConversionError,
    Converted,
    to_spiking,
    trace,
)
from snnjax.conversion.simulation import STEPS_PER_PART
from snnjax.models import Network
from snnjax.models.activations import Activation
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, SpikingNeurons
from snnjax.models.observation import capture_layers
from snnjax.models.params import by_name, nested
from snnjax.models.streaming import initial_state

LEVELS = ('none', 'light', 'advanced')


def calibrated(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    level: str = 'light',
    per_channel: bool = False,
) -> Converted:
    """Uses the thresholds with the least squared error, then calibrates layers (Li et al. 2021).

    ``theta / (2T)`` is added to the current of each step. The layers are then calibrated in forward
    order on the first batch. 'light' changes biases by the mean difference between ANN and SNN of
    each channel. 'advanced' instead gives each neuron the initial membrane potential that
    compensates for its own mean difference.

    Args:
      ann: an ANN of ReLUs.
      calibration: the training images.
      num_steps: the number of time steps T that the network is for.
      level: 'none' for thresholds only, 'light' or 'advanced'.
      per_channel: True for one threshold per channel.

    Raises:
      ConversionError: if the level is unknown, or the ANN does not support it.
    """
    if level not in LEVELS:
        raise ConversionError(f'level={level!r} must be one of {", ".join(LEVELS)}')
    thresholds = least_squares(ann, calibration, num_steps, per_channel=per_channel)
    options: dict[str, Any] = {'num_steps': num_steps, 'drift': 1 / (2 * num_steps)}
    if level == 'none':
        return to_spiking(ann, thresholds, **options)
    batch = calibration.first()
    _, targets = ann.activations(batch.images)
    if level == 'light':
        params = by_name({'params': ann.variables['params']})
        places = bias_places(ann)
        for name, place in places.items():
            found = to_spiking(ann, thresholds, variables=nested(params), **options)
            difference = _difference(found, batch, num_steps, name, targets)
            params[place] = np.asarray(params[place]) - difference.mean(axis=(0, 1, 2))
        return to_spiking(ann, thresholds, variables=nested(params), **options)
    initials = {layer.name: np.zeros(layer.shape, np.float32) for layer in ann.layers}
    for layer in ann.layers:
        found = to_spiking(ann, thresholds, initials=initials, **options)
        difference = _difference(found, batch, num_steps, layer.name, targets)
        potential = -num_steps * difference.mean(axis=0)
        initials[layer.name] = (potential / thresholds[layer.name]).astype(np.float32)
    return to_spiking(ann, thresholds, initials=initials, **options)


def bias_places(ann: Ann) -> dict[str, str]:
    """Returns the name of a bias that adds to the currents of each layer.

    Raises:
      ConversionError: if a layer has no bias, or the ANN has shortcuts that no activation ends.
    """
    if getattr(ann.model, 'kind', '') == 'ann':
        raise ConversionError(
            'level=light changes biases, which the shortcuts of this ANN pass on to all later '
            'layers: use --set level=none, or an ANN such as relu_resnet20'
        )
    params = by_name({'params': ann.variables['params']})
    places, latest = {}, ''
    for call in trace(ann.model, ann.image_shape, Activation, TDBN, Conv, nn.Dense):
        name = '/'.join(call.path)
        if f'params/{name}/bias' in params:
            latest = f'params/{name}/bias'
        elif isinstance(call.module, Activation):
            if not latest:
                raise ConversionError(f'{name} has no bias to calibrate: use --set level=none')
            places[name], latest = latest, ''
    return places


def _difference(
    converted: Converted,
    batch: Batch,
    num_steps: int,
    name: str,
    targets: Mapping[str, jax.Array],
) -> np.ndarray:
    """Returns mean output minus activation of a layer's neurons, for the images in the mask."""
    means = mean_outputs(converted.model, converted.variables, batch, num_steps)
    difference = np.asarray(means[name]) - np.asarray(targets[name])[:, 0]
    return difference[np.asarray(batch.mask)]


def mean_outputs(
    model: Network, variables: Mapping[str, Any], batch: Batch, num_steps: int
) -> dict[str, jax.Array]:
    """Returns the means over time of the outputs of all layers, of shape (B, H, W, C), by name.

    Args:
      model: a spiking network.
      variables: the variables of the network.
      batch: a batch of images.
      num_steps: the number of time steps T.
    """
    total: Any = None
    state, done = None, 0
    while done < num_steps:
        size = min(STEPS_PER_PART, num_steps - done)
        part = model.unrolled().clone(num_steps=size)
        state = initial_state(part, variables, batch.images) if state is None else state
        state, of_part = _sum_outputs(part)(variables, state, batch.images)
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
