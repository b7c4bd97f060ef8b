"""Thresholds of neurons from the activations of the ANN on training images."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.conversion.network import Ann, Calibration, ConversionError, Layer, check_count
from snnjax.conversion.statistics import FloorErrors, LargestValues
from snnjax.models import Network
from snnjax.models.activations import Activation

Thresholds = dict[str, np.ndarray]


def percentiles(
    ann: Ann,
    calibration: Calibration,
    percentile: float = 99.9,
    *,
    nonzero: bool = False,
    per_channel: bool = False,
) -> Thresholds:
    """Returns the exact percentile of the activations of each layer; 100 for the maximum.

    Args:
      ann: the ANN.
      calibration: the training images.
      percentile: the percentile, above 0 and at most 100.
      nonzero: True to leave out zeros, as snn_toolbox does, which raises a percentile.
      per_channel: True for one value per channel, over all its pixels.

    Returns:
      Arrays of shape () or (C,), by the names of layers.

    Raises:
      ConversionError: if there are no images, or the percentile is invalid.
    """

    def make(layer: Layer) -> LargestValues:
        channels = layer.shape[-1] if per_channel else 1
        values = layer.steps * int(np.prod(layer.shape))
        total = calibration.count * values // channels
        return LargestValues(channels, total, percentile, nonzero)

    return _gather(ann, calibration, make, 'thresholds', per_channel)


def least_squares(
    ann: Ann, calibration: Calibration, num_steps: int, *, per_channel: bool = False
) -> Thresholds:
    """Returns the thresholds with the least mean squared error in T steps (Li et al. 2021).

    The function makes two passes over the images: one for the largest activations, and one for the
    errors of 95 thresholds below them.

    Args:
      ann: the ANN.
      calibration: the training images.
      num_steps: the number of time steps T.
      per_channel: True for one value per channel.
    """
    largest = percentiles(ann, calibration, 100, per_channel=per_channel)

    def make(layer: Layer) -> FloorErrors:
        return FloorErrors(np.atleast_1d(largest[layer.name]), num_steps)

    return _gather(ann, calibration, make, 'threshold errors', per_channel)


def _gather(
    ann: Ann,
    calibration: Calibration,
    make: Callable[[Layer], Any],
    what: str,
    per_channel: bool,
) -> Thresholds:
    _check_images(calibration)
    try:
        statistics = {layer.name: make(layer) for layer in ann.layers}
    except ValueError as error:
        raise ConversionError(str(error)) from error
    for batch in calibration.iterate(what):
        _, activations = ann.activations(batch.images)
        for name, values in activations.items():
            values = np.asarray(values)[np.asarray(batch.mask)]
            columns = values.reshape(-1, values.shape[-1] if per_channel else 1)
            statistics[name].add(columns)
    results = {name: found.result().astype(np.float32) for name, found in statistics.items()}
    return results if per_channel else {name: found[0] for name, found in results.items()}


def _check_images(calibration: Calibration) -> None:
    if calibration.count < 1:
        raise ConversionError('no calibration images: thresholds need at least one training image')


def balance_locally(
    ann: Ann,
    calibration: Calibration,
    *,
    rate: float = 2.0,
    updates: int = 400,
    per_channel: bool = True,
) -> Thresholds:
    """Returns the thresholds of local threshold balancing (Bu et al. 2025).

    Thresholds start at 0. Each batch raises all of them by ``rate`` times the mean excess of the
    activations over the threshold. The new thresholds clip the activations that the next layers
    read.

    Args:
      ann: the ANN.
      calibration: the training images.
      rate: the factor of the mean excess.
      updates: the number of batches that raise the thresholds. The images are read again as often
        as necessary.
      per_channel: True for one value per channel.
    """
    _check_images(calibration)
    check_count('updates', updates, 1)
    thresholds = {
        layer.name: jnp.zeros(layer.shape[-1:] if per_channel else (), jnp.float32)
        for layer in ann.layers
    }
    step = _balance(ann.model, rate, per_channel)
    passes = itertools.chain.from_iterable(calibration.batches() for _ in itertools.count())
    batches = itertools.islice(passes, updates)
    for batch in calibration.watch(batches, 'local threshold balancing', updates):
        thresholds = step(ann.variables, thresholds, batch.images, batch.mask)
    return {name: np.asarray(value) for name, value in thresholds.items()}


@functools.lru_cache(maxsize=8)
def _balance(model: Network, rate: float, per_channel: bool) -> Any:
    @jax.jit
    def step(
        variables: Any, thresholds: Mapping[str, jax.Array], images: jax.Array, mask: jax.Array
    ) -> dict[str, jax.Array]:
        risen = {}

        def clip(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if not isinstance(context.module, Activation) or context.method_name != '__call__':
                return call(*args, **kwargs)
            x, name = call(*args, **kwargs), '/'.join(context.module.path)
            threshold = thresholds[name]
            weights = jnp.broadcast_to(mask[:, None, None, None, None], x.shape)
            axes = tuple(range(x.ndim - 1)) if per_channel else tuple(range(x.ndim))
            above = jnp.maximum(x - threshold, 0) * weights
            mean = jnp.sum(above, axes) / jnp.maximum(jnp.sum(weights, axes), 1)
            risen[name] = threshold + rate * mean
            return jnp.minimum(x, risen[name])

        with nn.intercept_methods(clip):
            model.apply(variables, images)
        return risen

    return step
