"""Threshold balancing of networks without biases: Spike-Norm and RMP.

The papers use spikes of size 1. Here spikes are as large as thresholds, and the threshold of layer
l is the product of ``theta_1`` to ``theta_l`` of the papers. The currents of a layer are larger by
the product up to the previous layer, so neurons make the same decisions. Without biases the logits
differ only by a factor.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.conversion.network import (
    Ann,
    Batch,
    Calibration,
    ConversionError,
    Converted,
    to_spiking,
)
from snnjax.conversion.simulation import STEPS_PER_PART, correct, simulate
from snnjax.models import Network
from snnjax.models.layers import SpikingNeurons
from snnjax.models.observation import capture_layers
from snnjax.models.params import is_in_stage
from snnjax.models.streaming import initial_state

NEVER = np.float32(1e30)
"""A threshold that no current reaches."""


def check_unit_spikes(ann: Ann, method: str) -> None:
    """Checks that an ANN can have spikes of size 1.

    Raises:
      ConversionError: if the ANN has biases, normalization, max pooling, or activations other than
        ReLUs.
    """
    if ann.biases:
        raise ConversionError(
            f'{ann.biases[0]}: {method} uses spikes of size 1, with which a bias would weigh too '
            f'much. Use an ANN without biases and normalization, such as sengupta_vgg16'
        )
    ann.check_pools_by_mean(method)
    for layer in ann.layers:
        if layer.kind != 'ReLU':
            raise ConversionError(f'{layer.name} is a {layer.kind}: {method} supports only ReLUs')


def balanced_layers(ann: Ann) -> list[str]:
    """Returns the layers whose thresholds are balanced.

    Thresholds in blocks are 1, in units of spikes. The two paths of a block, whose spikes are
    added, therefore have the same unit.
    """
    return [layer.name for layer in ann.layers if not is_in_stage(layer.name)]


def balance(
    ann: Ann,
    calibration: Calibration,
    *,
    steps: int,
    coding: str,
    input_scale: float,
    soft_reset: bool,
) -> dict[str, np.ndarray]:
    """Returns the thresholds of Spike-Norm, in the form with spikes as large as thresholds.

    The thresholds are found layer by layer. Each is the largest current of a neuron in a single
    step, while the previous layers already spike with their thresholds.

    Args:
      ann: an ANN without biases.
      calibration: the training images, of which only the first batch is used.
      steps: the number of time steps to run for each layer.
      coding: 'direct' or 'poisson', see `snnjax.models.Network`.
      input_scale: the value that a spike of the input represents.
      soft_reset: True to subtract the threshold after a spike, False to reset to 0.

    Raises:
      ConversionError: if a layer gets no positive current.
    """
    names = [layer.name for layer in ann.layers]
    thresholds = dict.fromkeys(names, NEVER)
    batch = calibration.first()
    for name in balanced_layers(ann):
        model = to_spiking(
            ann,
            thresholds,
            num_steps=min(steps, STEPS_PER_PART),
            coding=coding,
            input_scale=input_scale,
            soft_reset=soft_reset,
        )
        largest = largest_currents(model.model, model.variables, batch, steps)[name]
        if not largest > 0:
            raise ConversionError(
                f'{name} gets no positive current with calibration_steps={steps}: use more images, '
                f'or more steps (--set calibration_steps=1000)'
            )
        thresholds[name] = np.float32(largest)
        latest = thresholds[name]
    # Thresholds in blocks are 1 in units of the spikes of the last layer before the blocks.
    return {
        name: np.asarray(latest if is_in_stage(name) else value)
        for name, value in thresholds.items()
    }


def largest_currents(
    model: Network, variables: Mapping[str, Any], batch: Batch, steps: int
) -> dict[str, float]:
    """Returns the largest current of each layer's neurons over all steps.

    Args:
      model: a spiking network; its number of steps is that of one part of the simulation.
      variables: the variables of the network.
      batch: a batch of images.
      steps: the number of time steps, rounded up to whole parts.
    """
    state = initial_state(model, variables, batch.images)
    parts = []
    for _ in range(-(-steps // (model.num_steps or 1))):
        state, of_part = _advance(model)(variables, state, batch.images, batch.mask)
        parts.append(of_part)
    return {name: float(max(part[name] for part in parts)) for name in parts[0]}


@functools.lru_cache(maxsize=8)
def _advance(model: Network) -> Any:
    @jax.jit
    def advance(variables: Any, state: Any, images: jax.Array, mask: jax.Array) -> Any:
        with capture_layers(SpikingNeurons) as calls:
            _, updates = model.apply({**variables, 'membrane': state}, images, mutable=['membrane'])
        counted = mask[:, None, None, None, None]
        largest = {
            '/'.join(call.path): jnp.max(jnp.where(counted, call.input, -jnp.inf)) for call in calls
        }
        return updates['membrane'], largest

    return advance


def unit_thresholds(ann: Ann, thresholds: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the thresholds for spikes of size 1, for a network without biases.

    Args:
      ann: the ANN.
      thresholds: the thresholds of the converted network, by layer.
    """
    found, before = {}, 1.0
    for layer in ann.layers:
        found[layer.name] = float(thresholds[layer.name]) / before
        before = float(thresholds[layer.name])
    return found


def scaled(ann: Ann, thresholds: Mapping[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    """Returns the thresholds that result from multiplying those for spikes of size 1 by a factor.

    Args:
      ann: the ANN.
      thresholds: the thresholds of `balance`.
      factor: the factor; the threshold of the n-th balanced layer gets its n-th power.
    """
    power, found = 0, {}
    balanced = balanced_layers(ann)
    for layer in ann.layers:
        power += layer.name in balanced
        found[layer.name] = np.asarray(thresholds[layer.name] * factor**power, np.float32)
    return found


def largest_pixel(calibration: Calibration) -> float:
    """Returns the largest absolute value of the normalized images."""
    return max(
        float(jnp.max(jnp.abs(batch.images[jnp.asarray(batch.mask)])))
        for batch in calibration.iterate('image range')
    )


def spike_norm(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    calibration_steps: int = 200,
    coding: str = 'poisson',
    soft_reset: bool = False,
) -> Converted:
    """Balances thresholds layer by layer on spikes (Sengupta et al. 2019).

    Args:
      ann: an ANN of ReLUs without biases.
      calibration: the training images, of which only the first batch sets thresholds.
      num_steps: the number of time steps T.
      calibration_steps: the number of time steps for each threshold; the authors' laboratory uses
        1000.
      coding: 'poisson' or 'direct'.
      soft_reset: False to reset to 0, as in the paper.
    """
    check_unit_spikes(ann, 'spike_norm')
    scale = largest_pixel(calibration)
    options: dict[str, Any] = {
        'coding': coding,
        'input_scale': scale,
        'soft_reset': soft_reset,
    }
    thresholds = balance(ann, calibration, steps=calibration_steps, **options)
    converted = to_spiking(ann, thresholds, num_steps=num_steps, **options)
    about = {'unit_thresholds': unit_thresholds(ann, thresholds), 'input_scale': scale}
    converted.about.update(about)
    return converted


def rmp(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    calibration_steps: int = 200,
    coding: str = 'poisson',
    factors: Sequence[float] = (1.0, 0.9, 0.8, 0.7, 0.6),
) -> Converted:
    """Lowers balanced thresholds by a factor, and uses soft resets (Han et al. 2020).

    A soft reset keeps the excess of the membrane potential over the threshold.

    The factor is the best of several at T time steps, on the last batch of training images, which
    does not set thresholds.

    Args:
      ann: an ANN of ReLUs without biases.
      calibration: the training images, of which only the first batch sets thresholds.
      num_steps: the number of time steps T.
      calibration_steps: the number of time steps for each threshold.
      coding: 'poisson' or 'direct'.
      factors: the factors to try.
    """
    check_unit_spikes(ann, 'rmp')
    factors = factors if isinstance(factors, Sequence) else (factors,)
    batches = list(calibration.batches())
    if len(batches) < 2:
        raise ConversionError(
            'rmp needs more than one batch of training images: the last one selects the factor. '
            'Raise --calibration_images, or lower --batch_size'
        )
    scale = largest_pixel(calibration)
    options: dict[str, Any] = {'coding': coding, 'input_scale': scale, 'soft_reset': True}
    thresholds = balance(ann, calibration, steps=calibration_steps, **options)
    held_out, found = batches[-1], {}
    for factor in factors:
        each = to_spiking(ann, scaled(ann, thresholds, factor), num_steps=num_steps, **options)
        outcome = simulate(
            each.model, each.variables, held_out.images, num_steps, mask=held_out.mask
        )
        hits = correct(outcome.logits, held_out.labels, held_out.mask, [num_steps])[num_steps]
        found[factor] = hits / int(np.sum(held_out.mask))
    best = max(found, key=lambda factor: found[factor])
    chosen = scaled(ann, thresholds, best)
    converted = to_spiking(ann, chosen, num_steps=num_steps, **options)
    converted.about.update(
        factor=best,
        held_out_accuracy={str(factor): accuracy for factor, accuracy in found.items()},
        unit_thresholds=unit_thresholds(ann, chosen),
        input_scale=scale,
    )
    return converted
