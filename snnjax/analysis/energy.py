"""Compute energy estimated from operation counts: tables 5 and 10, and layer by layer.

The estimates cover arithmetic in 45 nm technology only. Memory traffic, neuron updates and
communication are left out. A multiply-accumulate (MAC) of 32-bit floats takes 4.6 pJ. A spike needs
an accumulate (AC) per synapse, which takes 0.9 pJ (Horowitz 2014, as in table 5).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from snnjax.analysis.activity import Activity, measure_activity
from snnjax.analysis.trained import ModelOnData
from snnjax.models.params import by_name, is_kernel
from snnjax.models.summary import LayerSummary, spiking_macs, summarize

MAC_JOULES = 4.6e-12
AC_JOULES = 0.9e-12
SCOPE = 'compute only: no memory traffic, no neurons, no communication'


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An energy estimate by the paper's convention (section 5.3).

    The estimate covers the convolutions of residual paths and uses one mean firing rate for all.

    Attributes:
      macs: the number of multiply-accumulates of an ANN per image. It is also the number of
        accumulates of the SNN per time step if every neuron fires.
      firing_rate: the firing rate, averaged over neurons and time steps.
      num_steps: the number of time steps T.
    """

    macs: float
    firing_rate: float
    num_steps: int

    @property
    def syops(self) -> float:
        """Returns the number of synaptic operations (accumulates) of the SNN per image."""
        return self.macs * self.firing_rate * self.num_steps

    @property
    def ann_joules(self) -> float:
        """Returns the energy of an ANN of the same structure in joules per image."""
        return self.macs * MAC_JOULES

    @property
    def snn_joules(self) -> float:
        """Returns the energy of the SNN in joules per image."""
        return self.syops * AC_JOULES

    @property
    def ratio(self) -> float:
        """Returns the energy of the ANN divided by that of the SNN; see `times_less`."""
        return times_less({'ann_joules': self.ann_joules, 'snn_joules': self.snn_joules})


def times_less(energy: Mapping[str, float]) -> float:
    """Returns ``ann_joules`` divided by ``snn_joules``.

    Returns:
      The ratio; infinity if only ``snn_joules`` is 0, NaN if both are 0.
    """
    ann, snn = energy['ann_joules'], energy['snn_joules']
    if snn:
        return ann / snn
    return math.inf if ann else math.nan


@dataclasses.dataclass(frozen=True)
class LayerEnergy:
    """The operations of a convolution or a fully connected layer per image.

    Attributes:
      name: the path of the layer.
      macs: the number of multiply-accumulates; 0 if the input is spikes.
      acs: the number of accumulates; 0 if the input is real-valued.
    """

    name: str
    macs: float
    acs: float

    @property
    def joules(self) -> float:
        """Returns the energy of all operations in joules per image."""
        return self.macs * MAC_JOULES + self.acs * AC_JOULES


def by_layer(
    layers: Sequence[LayerSummary],
    input_rates: Mapping[str, float],
    num_steps: int,
    *,
    every_step: bool = False,
) -> list[LayerEnergy]:
    """Returns the operations of each layer, counted with the firing rate of its own input.

    A layer with spikes as input needs ACs; a layer with real-valued input needs MACs.

    Args:
      layers: the layers of the network at T = ``num_steps``; `summarize` returns them.
      input_rates: the share of nonzero inputs by layer name, between 0 and 1.
      num_steps: the number of time steps T.
      every_step: True to charge convolutions with constant input for every time step, False to
        charge them once. A static image and its features before the first neurons are constant.
    """
    energies = []
    for layer in layers:
        if not layer.macs:
            continue
        runs = num_steps if every_step and layer.kind == 'convolution' else layer.runs
        spikes = layer.input == 'spikes'
        acs = layer.macs * runs * input_rates[layer.name] if spikes else 0.0
        energies.append(LayerEnergy(layer.name, 0.0 if spikes else layer.macs * runs, acs))
    return energies


def total(energies: Sequence[LayerEnergy]) -> LayerEnergy:
    """Returns the operations summed over layers, under the name ``total``."""
    return LayerEnergy(
        'total', sum(layer.macs for layer in energies), sum(layer.acs for layer in energies)
    )


def neurobench_metrics(
    layers: Sequence[LayerSummary],
    *,
    footprint: int,
    connection_sparsity: float,
    accuracy: float,
    firing_rate: float,
    operations: Mapping[str, float],
) -> dict[str, Any]:
    """Returns the metrics of NeuroBench (Yik et al. 2025) under the names that it gives them.

    Args:
      layers: the layers of the network; `summarize` returns them.
      footprint: the size of parameters and running statistics in bytes.
      connection_sparsity: the share of weights that are zero, between 0 and 1.
      accuracy: the top-1 accuracy, between 0 and 1.
      firing_rate: the firing rate, averaged over all neurons.
      operations: the counted operations with nonzero inputs per image, by layer name.
    """
    effective = {
        kind: sum(operations[layer.name] for layer in layers if layer.input == kind)
        for kind in ('real', 'spikes')
    }
    neurons = [layer for layer in layers if layer.kind == 'neurons']
    return {
        'footprint': footprint,
        'connection_sparsity': connection_sparsity,
        'classification_accuracy': accuracy,
        'activation_sparsity': 1 - firing_rate,
        'synaptic_operations': {
            'Effective_MACs': effective['real'],
            'Effective_ACs': effective['spikes'],
            'Dense': sum(layer.macs * layer.runs for layer in layers),
        },
        'membrane_updates': sum(_size(layer) * layer.runs for layer in neurons),
    }


def _size(layer: LayerSummary) -> int:
    height, width, channels = layer.shape
    return height * width * channels


def estimate_energy(trained: ModelOnData, activity: Activity) -> dict[str, Any]:
    """Returns all energy estimates of a model as values that JSON can hold.

    Args:
      trained: the model.
      activity: the counts of `measure_activity` for this model.

    Returns:
      A dictionary with the keys of `neurobench_metrics`, ``images``, ``num_steps``, ``scope`` and:

      - ``energy_by_mean_rate``: the estimate by the paper's convention. Its ``ratio`` is None if
        no neuron fires, because JSON has no infinity.
      - ``energy_by_layer``: the sums of `by_layer`, with constant inputs charged ``once`` or at
        ``every_step``.
      - ``layers``: the energy of each layer, with constant inputs charged once.

      Energies are in joules per image.
    """
    layers = summarize(trained.model, trained.image_shape)
    steps = trained.num_steps
    paper = Estimate(spiking_macs(layers), activity.firing_rate, steps)
    rates = {layer.name: layer.input_rate for layer in activity.synapses}
    inputs = {layer.name: layer.input for layer in layers}
    once, every_step = (by_layer(layers, rates, steps, every_step=e) for e in (False, True))
    leaves = by_name(jax.device_get(dict(trained.variables)))
    kernels = [leaf for name, leaf in leaves.items() if is_kernel(name)]
    zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels)
    return {
        **neurobench_metrics(
            layers,
            footprint=sum(leaf.nbytes for leaf in leaves.values()),
            connection_sparsity=zeros / sum(kernel.size for kernel in kernels),
            accuracy=activity.accuracy,
            firing_rate=activity.firing_rate,
            operations={layer.name: layer.operations for layer in activity.synapses},
        ),
        'images': activity.images,
        'num_steps': steps,
        'scope': SCOPE,
        'energy_by_mean_rate': {
            'macs': paper.macs,
            'syops': paper.syops,
            'ann_joules': paper.ann_joules,
            'snn_joules': paper.snn_joules,
            'ratio': paper.ratio if math.isfinite(paper.ratio) else None,
        },
        'energy_by_layer': {
            'ann_joules': sum(layer.macs for layer in layers) * MAC_JOULES,
            'once': _sum(once),
            'every_step': _sum(every_step),
        },
        'layers': [
            {
                'name': layer.name,
                'input': inputs[layer.name],
                'input_rate': rates[layer.name],
                'joules': layer.joules,
            }
            for layer in once
        ],
    }


def measure_costs(trained: ModelOnData) -> dict[str, Any]:
    """Measures the accuracy and the inference cost of a trained network for a row of a table.

    Returns:
      A row with ``num_steps``, ``images``, ``accuracy``, ``firing_rate``, and per image ``syops``
      and ``snn_joules`` (by the paper's convention) and ``joules_by_layer`` (summed over layers,
      with constant inputs charged once).
    """
    activity = measure_activity(trained)
    energy = estimate_energy(trained, activity)
    return {
        'num_steps': trained.num_steps,
        'images': activity.images,
        'accuracy': activity.accuracy,
        'firing_rate': activity.firing_rate,
        'syops': energy['energy_by_mean_rate']['syops'],
        'snn_joules': energy['energy_by_mean_rate']['snn_joules'],
        'joules_by_layer': energy['energy_by_layer']['once']['snn_joules'],
    }


def _sum(energies: Sequence[LayerEnergy]) -> dict[str, float]:
    sums = total(energies)
    return {'macs': sums.macs, 'acs': sums.acs, 'snn_joules': sums.joules}
