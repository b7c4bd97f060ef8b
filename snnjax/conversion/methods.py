"""The conversion methods, by name.

Each method follows its paper. The table in ``docs/concepts/conversion.md`` lists the differences
between papers and released code, and the choice made here.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from snnjax.conversion.balancing import rmp, spike_norm
from snnjax.conversion.bias_calibration import calibrated
from snnjax.conversion.calibration import balance_locally, percentiles
from snnjax.conversion.network import (
    Ann,
    Calibration,
    ConversionError,
    Converted,
    Layer,
    to_spiking,
    trace,
)
from snnjax.models.few_spike_layers import FEW_SPIKES
from snnjax.models.params import by_name, nested
from snnjax.spelling import did_you_mean

RECTIFIERS = ('ReLU', 'Clip', 'QCFS')
"""The activations that integrate-and-fire neurons can replace."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A conversion method.

    Attributes:
      function: a function ``(ann, calibration, *, num_steps, **options) -> Converted``.
      source: the paper.
      calibrates: False if the method needs no images.
      rollouts: True if the method can convert rollouts (`snnjax.models.rollouts`) with their
        delays.
    """

    function: Callable[..., Converted]
    source: str
    calibrates: bool = True
    rollouts: bool = False

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """Returns the options by name with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name != 'num_steps'
        }


def convert(
    ann: Ann, method: str, calibration: Calibration, *, num_steps: int, **options: Any
) -> Converted:
    """Converts an ANN to a spiking network.

    Args:
      ann: the ANN.
      method: a key of `METHODS`.
      calibration: the training images.
      num_steps: the number of time steps T that the network is for. It can be simulated for more or
        fewer steps.
      **options: the options of the method.

    Raises:
      ConversionError: if a method or option is unknown, there is no time step, or the method does
        not support the ANN.
    """
    if method not in METHODS:
        raise ConversionError(f'unknown method {method!r}; {did_you_mean(method, METHODS)}')
    chosen = METHODS[method]
    for option in options:
        if option not in chosen.options:
            known = chosen.options
            raise ConversionError(
                f'{method} has no option {option!r}; '
                + (did_you_mean(option, known) if known else 'it has no options')
            )
    if num_steps < 1:
        raise ConversionError(f'num_steps={num_steps}: a network needs at least 1 time step')
    _check_rollout(ann, method, num_steps)
    if chosen.calibrates and calibration.count < 1:
        raise ConversionError(f'no calibration images: {method} needs at least one training image')
    converted = chosen.function(ann, calibration, num_steps=num_steps, **options)
    about = {
        'method': method,
        'source': chosen.source,
        'options': chosen.options | options,
        'calibration_images': calibration.count if chosen.calibrates else 0,
        **converted.about,
    }
    return dataclasses.replace(converted, about=about)


def _check_rollout(ann: Ann, method: str, num_steps: int) -> None:
    if not ann.model.rollout:
        return
    if not METHODS[method].rollouts:
        known = ', '.join(name for name, each in METHODS.items() if each.rollouts)
        raise ConversionError(f'{method} does not support rollouts; use one of {known}')
    frames = ann.image_shape[0] if len(ann.image_shape) == 4 else num_steps
    if num_steps != frames:
        raise ConversionError(
            f'num_steps={num_steps} must be {frames}, the number of frames: each frame is one time '
            f'step of a rollout'
        )


def _check_rectified(ann: Ann, *kinds: str) -> None:
    kinds = kinds or RECTIFIERS
    for layer in ann.layers:
        if layer.kind not in kinds:
            raise ConversionError(
                f'{layer.name} is a {layer.kind}: this method supports only networks of '
                f'{" or ".join(kinds)}'
                + ('; swish and sigmoid need --method=few_spikes' if len(kinds) > 1 else '')
            )


def bounds(ann: Ann) -> dict[str, np.ndarray]:
    """Returns the bounds of the activations of an ANN that was trained with bounds, by layer.

    Raises:
      ConversionError: if an activation has no bound, or a bound is not above 0.
    """
    params = by_name(ann.variables['params'])
    found = {}
    for layer in ann.layers:
        fixed: Any = getattr(layer.module, 'bound', None)
        bound = params.get(f'{layer.name}/bound', fixed)
        if bound is None:
            raise ConversionError(
                f'{layer.name} is a {layer.kind}, which has no bound: use an ANN of clip or qcfs '
                f'activations'
            )
        found[layer.name] = np.asarray(bound, np.float32)
        if not found[layer.name] > 0:
            raise ConversionError(
                f'{layer.name} has the bound {float(bound):g}, which is not above 0: train the ANN '
                f'with bounds that start at 4 or 8'
            )
    return found


def rueckauer(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    percentile: float = 99.9,
    nonzero: bool = False,
    per_channel: bool = False,
    soft_reset: bool = True,
    initial: float = 0.0,
    lowest: float | None = None,
) -> Converted:
    """Normalizes by a percentile of the activations of each layer (Rueckauer et al. 2017).

    Args:
      ann: an ANN of ReLUs, or of ReLUs with bounds.
      calibration: the training images.
      num_steps: the number of time steps T.
      percentile: the percentile of the activations, above 0; 100 for the maximum.
      nonzero: True to leave out zeros, as the authors' tool does.
      per_channel: True for one threshold per channel.
      soft_reset: False to reset to 0.
      initial: the membrane potential before the first step, as a share of the threshold.
      lowest: the lower bound of the membrane potential, as a share of the threshold; None for none,
        as in the paper. Rollouts need one near 0, because their currents change over time.
    """
    _check_rectified(ann)
    thresholds = percentiles(ann, calibration, percentile, nonzero=nonzero, per_channel=per_channel)
    of_neuron: dict[str, Any] = {} if lowest is None else {'lowest': lowest}
    return to_spiking(
        ann,
        thresholds,
        num_steps=num_steps,
        soft_reset=soft_reset,
        initial=initial,
        **of_neuron,
    )


def s_resnet(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    percentile: float = 99.9,
    compensation: float = 1.0,
    initial: float = 0.5,
) -> Converted:
    """Normalizes residual networks with their shortcuts (Hu et al. 2018, 2021).

    Spikes are as large as thresholds here, so shortcuts need no scale. The weight-normalized form,
    `snnjax.conversion.forms.normalize_weights`, scales the shortcuts as in the paper.

    Args:
      ann: an ANN of ReLUs.
      calibration: the training images.
      num_steps: the number of time steps T.
      percentile: the percentile of all activations; the authors use 99.99 for ImageNet.
      compensation: the factor of all weights and shortcuts, but not of biases.
      initial: the membrane potential before the first step, as a share of the threshold.
    """
    _check_rectified(ann)
    if not compensation > 0:
        raise ConversionError(f'compensation={compensation} must be above 0')
    thresholds = percentiles(ann, calibration, percentile)
    options: dict[str, Any] = {} if compensation == 1 else {'gain': compensation}
    return to_spiking(
        ann,
        thresholds,
        num_steps=num_steps,
        initial=initial,
        soft_reset=True,
        pool_gate='count',
        variables=_with_first_layer_times(ann, compensation),
        **options,
    )


def _with_first_layer_times(ann: Ann, factor: float) -> dict[str, Any] | None:
    """Returns the parameters with a factor on the first kernel, which reads no spikes."""
    if factor == 1:
        return None
    params = by_name({'params': ann.variables['params']})
    kernels = [name for name in params if name.endswith('/kernel')]
    first = next(name for name in kernels if name.split('/')[1] in ('stem', 'conv1'))
    return nested(params | {first: factor * np.asarray(params[first])})


def qcfs(ann: Ann, calibration: Calibration, *, num_steps: int) -> Converted:
    """Takes the learned bounds of QCFS activations as thresholds (Bu et al. 2022).

    Neurons start at half their threshold. If the input of a layer is constant, its mean output
    equals the activation after as many steps as the activation has levels.

    Args:
      ann: an ANN of QCFS activations.
      calibration: an ignored argument.
      num_steps: the number of time steps T.
    """
    del calibration
    _check_rectified(ann, 'QCFS')
    ann.check_pools_by_mean('qcfs')
    return to_spiking(ann, bounds(ann), num_steps=num_steps, soft_reset=True, initial=0.5)


def rts(ann: Ann, calibration: Calibration, *, num_steps: int) -> Converted:
    """Adds ``theta / (2T)`` to the current of each step (Deng and Gu 2021).

    Thresholds are the largest activations of the ANN on the training images.

    Args:
      ann: an ANN of ReLUs, which should have bounds.
      calibration: the training images.
      num_steps: the number of time steps T for which the current is computed.
    """
    _check_rectified(ann)
    thresholds = percentiles(ann, calibration, 100)
    return to_spiking(
        ann, thresholds, num_steps=num_steps, soft_reset=True, drift=1 / (2 * num_steps)
    )


def ltb(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    rate: float = 2.0,
    updates: int = 400,
    per_channel: bool = True,
) -> Converted:
    """Balances thresholds locally, without training (Bu et al. 2025).

    Args:
      ann: an ANN of ReLUs.
      calibration: the training images. Thresholds rise with each batch.
      num_steps: the number of time steps T.
      rate: the factor of the excess over a threshold.
      updates: the number of batches that raise the thresholds. The images are read again as often
        as necessary. SpikingJelly's example for ImageNet uses 390 batches of 128 images.
      per_channel: True for one threshold per channel.
    """
    _check_rectified(ann)
    thresholds = balance_locally(
        ann, calibration, rate=rate, updates=updates, per_channel=per_channel
    )
    return to_spiking(ann, thresholds, num_steps=num_steps, soft_reset=True, initial=0.5)


def few_spikes(
    ann: Ann,
    calibration: Calibration,
    *,
    num_steps: int,
    steps: int = 10,
    largest: float = 25.0,
    by_layer: bool = False,
    published: bool = False,
) -> Converted:
    """Replaces activations by few-spike neurons (Stöckl and Maass 2021).

    Args:
      ann: an ANN of ReLU, swish or sigmoid activations.
      calibration: the training images, which only ``by_layer`` uses.
      num_steps: an ignored argument; the network takes ``layers * K`` steps.
      steps: the number of steps K of ReLUs.
      largest: the bound ``alpha`` of the outputs of ReLUs, which they never reach.
      by_layer: True to use the largest activation of each layer of ReLUs as its bound.
      published: True for the authors' coefficients of swish and sigmoid, False for those fitted in
        this project.
    """
    del num_steps
    known = {kind.replaces: name for name, kind in FEW_SPIKES.items()}
    activation = ann.model._activation
    if activation not in known:
        raise ConversionError(
            f'few_spikes can replace {", ".join(known)}, but the activation of the ANN is '
            f'{activation!r}'
        )
    options: dict[str, Any] = {'published': True} if published else {}
    if activation == 'relu':
        options = {'steps': steps, 'largest': largest, 'by_layer': by_layer}
    chosen: dict[str, Any] = {'activation': known[activation], 'activation_options': options}
    gate = getattr(ann.model, 'gate', None)
    if gate is not None:
        chosen['gate'] = known[gate]
    try:
        model = ann.model.clone(**chosen)
    except ValueError as error:
        raise ConversionError(str(error)) from error
    variables, thresholds = dict(ann.variables), {}
    if activation == 'relu' and by_layer:
        # The largest number of K digits is alpha less one unit of the last digit.
        share = 1 - 2.0**-steps
        thresholds = percentiles(ann, calibration, 100)
        params = by_name({'params': ann.variables['params']})
        for name, value in thresholds.items():
            params[f'params/{name}/largest'] = np.float32(value / share)
        variables |= nested(params)
    about = few_spike_steps(model, ann.image_shape)
    # These are the steps of one layer; its neurons fire at most once in each of them.
    chosen['num_steps'] = about['steps_per_layer']
    return Converted(model.clone(**chosen), chosen, variables, thresholds, about)


def few_spike_steps(model: Any, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the number of layers of few-spike neurons of a network, and its time steps.

    Each layer takes K steps, one layer after the other. A pipeline returns an output every K steps.

    Args:
      model: a network of few-spike neurons.
      image_shape: the image shape (H, W, C).
    """
    calls = trace(model, image_shape, *FEW_SPIKES.values())
    spikes = [call.module.num_spikes for call in calls]
    slots = max(spikes)
    return {'layers': len(spikes), 'steps_per_layer': slots, 'time_steps': len(spikes) * slots}


@functools.wraps(calibrated)
def _calibrated(ann: Ann, calibration: Calibration, **options: Any) -> Converted:
    _check_rectified(ann)
    return calibrated(ann, calibration, **options)


METHODS: dict[str, Method] = {
    'rueckauer': Method(rueckauer, 'Rueckauer et al. 2017', rollouts=True),
    's_resnet': Method(s_resnet, 'Hu et al. 2018, 2021', rollouts=True),
    'qcfs': Method(qcfs, 'Bu et al. 2022', calibrates=False, rollouts=True),
    'rts': Method(rts, 'Deng and Gu 2021', rollouts=True),
    'ltb': Method(ltb, 'Bu et al. 2025'),
    'calibration': Method(_calibrated, 'Li et al. 2021'),
    'spike_norm': Method(spike_norm, 'Sengupta et al. 2019'),
    'rmp': Method(rmp, 'Han et al. 2020'),
    'few_spikes': Method(few_spikes, 'Stöckl and Maass 2021', calibrates=False),
}
"""The conversion methods by name. To add one, add a function with keyword options to this table."""


def describe_thresholds(layers: tuple[Layer, ...], thresholds: Mapping[str, np.ndarray]) -> str:
    """Returns a line per layer with its threshold, or the range of its channels' thresholds."""
    lines = []
    for layer in layers:
        if layer.name in thresholds:
            value = np.asarray(thresholds[layer.name])
            text = f'{value:.4f}' if value.ndim == 0 else f'{value.min():.4f} to {value.max():.4f}'
            lines.append(f'  {layer.name:40} {text}')
    return '\n'.join(lines)
