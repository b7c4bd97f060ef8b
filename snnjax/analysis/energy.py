"""Energy of computing, from numbers of operations: tables 5 and 10, and layer by layer.

Estimates of the arithmetic alone, in 45 nm technology: nothing of reading and writing memory, of
neurons, or of communication. A multiply-accumulate (MAC) of 32-bit floats takes 4.6 pJ, an
accumulate (AC), which is all that a spike asks of a synapse, 0.9 pJ (Horowitz 2014, as in table 5).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from snnjax.analysis.activity import Activity, measure_activity
from snnjax.analysis.trained import LoadedModel
from snnjax.models.params import by_name, is_kernel
from snnjax.models.summary import LayerSummary, spiking_macs, summarise

MAC_JOULES = 4.6e-12
AC_JOULES = 0.9e-12
SCOPE = 'compute only: no memory traffic, no neurons, no communication'


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The paper's convention (section 5.3): convolutions of residual paths, at one mean rate.

    Attributes:
      macs: multiply-accumulates of an ANN for an image, or of a time step of the SNN if all fired.
      firing_rate: mean over neurons and time steps.
      num_steps: time steps T.
    """

    macs: float
    firing_rate: float
    num_steps: int

    @property
    def syops(self) -> float:
        """Synaptic operations of the SNN, each an accumulate."""
        return self.macs * self.firing_rate * self.num_steps

    @property
    def ann_joules(self) -> float:
        """Of an ANN of this structure."""
        return self.macs * MAC_JOULES

    @property
    def snn_joules(self) -> float:
        """Of the SNN."""
        return self.syops * AC_JOULES

    @property
    def ratio(self) -> float:
        """How many times the SNN's energy the ANN takes; infinity if no neuron fires."""
        return times_less({'ann_joules': self.ann_joules, 'snn_joules': self.snn_joules})


def times_less(energy: Mapping[str, float]) -> float:
    """Returns how many times the ``snn_joules`` the ``ann_joules`` are.

    Returns:
      Infinity if the SNN computes nothing, NaN if neither of them does.
    """
    ann, snn = energy['ann_joules'], energy['snn_joules']
    if snn:
        return ann / snn
    return math.inf if ann else math.nan


@dataclasses.dataclass(frozen=True)
class LayerEnergy:
    """Operations of one convolution, or a fully connected layer, for an image.

    Attributes:
      name: its place.
      macs: multiply-accumulates, where the input is real-valued.
      acs: accumulates, where it is spikes.
    """

    name: str
    macs: float
    acs: float

    @property
    def joules(self) -> float:
        """Of both."""
        return self.macs * MAC_JOULES + self.acs * AC_JOULES


def by_layer(
    layers: Sequence[LayerSummary],
    input_rates: Mapping[str, float],
    num_steps: int,
    *,
    every_step: bool = False,
) -> list[LayerEnergy]:
    """Every layer with the firing rate of its own input; what sees real values as MACs.

    Args:
      layers: of the network at T = ``num_steps``, see `summarise`.
      input_rates: share of the inputs of a layer that are spikes, by its name.
      num_steps: time steps T.
      every_step: charge convolutions of what does not change over time (a static image, and what
        comes of it before the first neurons) for every time step, instead of once.
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
    """The sum of all layers."""
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
    """What NeuroBench (Yik et al. 2025) measures of a model, by its names.

    Args:
      layers: of the network, see `summarise`.
      footprint: bytes of parameters and running statistics.
      connection_sparsity: share of the weights that are zero.
      accuracy: of the classification.
      firing_rate: over all neurons.
      operations: of each layer by its name with inputs that are not zero, for an image, counted.
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


def estimate_energy(trained: LoadedModel, activity: Activity) -> dict[str, Any]:
    """All that there is to say of the energy of a model, as JSON can hold it.

    Args:
      trained: the model.
      activity: what was measured of it.

    Returns:
      `neurobench_metrics`; ``energy_by_mean_rate``, the paper's convention; ``energy_by_layer``,
      the other, where what does not change over time is charged ``once``, or at ``every_step``;
      ``layers`` with it charged once; ``images``, ``num_steps`` and ``scope``. Joules an image.
      The paper's ``ratio`` is None if no neuron fires, as JSON knows no infinity.
    """
    layers = summarise(trained.model, trained.image_shape)
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
            # JSON has no infinity.
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


def measure_costs(trained: LoadedModel) -> dict[str, Any]:
    """What a trained network reaches, and what an image costs, in a row of a table.

    Returns:
      ``num_steps``, ``images``, ``accuracy``, ``firing_rate``; ``syops`` and ``snn_joules`` of an
      image by the paper's convention, and ``joules_by_layer`` by layer, with what does not change
      over time computed once.
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
