"""Calibration of biases, potentials and weights, layer by layer (Li et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from snnjax.conversion.calibration import least_squares
from snnjax.conversion.network import (
    Ann,
    Batch,
    Calibration,
    ConversionError,
    Converted,
    check_count,
    to_spiking,
    trace,
)
from snnjax.conversion.simulation import mean_outputs
from snnjax.conversion.weight_calibration import calibrate_weights
from snnjax.models.activations import Activation
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN
from snnjax.models.params import by_name, nested

LEVELS = ('none', 'light', 'advanced')


def calibrated(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    level: str = 'light',
    per_channel: bool = False,
    weight_updates: int = 0,
    weight_learning_rate: float = 1e-5,
) -> Converted:
    """Uses the thresholds with the least squared error, then calibrates layers (Li et al. 2021).

    ``theta / (2T)`` is added to the current of each step. The layers are then calibrated in forward
    order on the first batch. 'light' changes biases by the mean difference between ANN and SNN of
    each channel. 'advanced' instead gives each neuron the initial membrane potential that
    compensates for its own mean difference. Before that, it can train the weights on all images
    (`snnjax.conversion.weight_calibration`).

    Args:
      ann: an ANN of ReLUs.
      calibration: the training images.
      num_steps: the number of time steps T that the network is for.
      level: 'none' for thresholds only, 'light' or 'advanced'.
      per_channel: True for one threshold per channel.
      weight_updates: the number of updates of each layer's weights in the level 'advanced'. The
        authors' code uses 5000 for ImageNet and none for CIFAR-10.
      weight_learning_rate: the learning rate of the first of these updates. The default is that of
        the authors' code for ImageNet.

    Raises:
      ConversionError: if an option has an invalid value, or the ANN does not support it.
    """
    if level not in LEVELS:
        raise ConversionError(f'level={level!r} must be one of {", ".join(LEVELS)}')
    check_count('weight_updates', weight_updates, 0)
    if weight_updates and level != 'advanced':
        raise ConversionError(
            f'weight_updates={weight_updates}: weights are trained only with --set level=advanced'
        )
    if not weight_learning_rate > 0:
        raise ConversionError(f'weight_learning_rate={weight_learning_rate} must be above 0')
    places = bias_places(ann) if level == 'light' else {}
    if weight_updates:
        _check_shortcuts(ann, 'weight_updates changes weights', 'weight_updates=0')
    thresholds = least_squares(ann, calibration, num_steps, per_channel=per_channel)
    options: dict[str, Any] = {'num_steps': num_steps, 'drift': 1 / (2 * num_steps)}
    if level == 'none':
        return to_spiking(ann, thresholds, **options)
    batch = calibration.first()
    _, targets = ann.activations(batch.images)
    if level == 'light':
        params = by_name({'params': ann.variables['params']})
        for name, place in places.items():
            found = to_spiking(ann, thresholds, variables=nested(params), **options)
            difference = _difference(found, batch, num_steps, name, targets)
            params[place] = np.asarray(params[place]) - difference.mean(axis=(0, 1, 2))
        return to_spiking(ann, thresholds, variables=nested(params), **options)
    variables = None
    if weight_updates:
        trained = calibrate_weights(
            ann,
            thresholds,
            calibration,
            num_steps=num_steps,
            updates=weight_updates,
            learning_rate=weight_learning_rate,
        )
        variables = nested(trained)
    initials = {layer.name: np.zeros(layer.shape, np.float32) for layer in ann.layers}
    for layer in ann.layers:
        found = to_spiking(ann, thresholds, initials=initials, variables=variables, **options)
        difference = _difference(found, batch, num_steps, layer.name, targets)
        potential = -num_steps * difference.mean(axis=0)
        initials[layer.name] = (potential / thresholds[layer.name]).astype(np.float32)
    return to_spiking(ann, thresholds, initials=initials, variables=variables, **options)


def bias_places(ann: Ann) -> dict[str, str]:
    """Returns the name of a bias that adds to the currents of each layer.

    Raises:
      ConversionError: if a layer has no bias, or the ANN has shortcuts that no activation ends.
    """
    _check_shortcuts(ann, 'level=light changes biases', 'level=none')
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


def _check_shortcuts(ann: Ann, change: str, instead: str) -> None:
    if getattr(ann.model, 'kind', '') == 'ann':
        raise ConversionError(
            f'{change}, which the shortcuts of this ANN pass on to all later layers: use --set '
            f'{instead}, or an ANN such as relu_resnet20'
        )


def _difference(
    converted: Converted,
    batch: Batch,
    num_steps: int,
    name: str,
    targets: Mapping[str, jax.Array],
) -> np.ndarray:
    """Returns mean output minus activation of a layer's neurons, for the images in the mask."""
    means = mean_outputs(converted.model, converted.variables, batch.images, num_steps)
    difference = np.asarray(means[name]) - np.asarray(targets[name])[:, 0]
    return difference[np.asarray(batch.mask)]
