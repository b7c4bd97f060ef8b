"""Accuracy, spike counts and energy of converted networks over time steps, in one pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from snnjax.analysis.energy import Estimate, by_layer, total
from snnjax.analysis.trained import ModelOnData
from snnjax.conversion.network import Batch, Calibration, trace
from snnjax.conversion.simulation import correct, simulate
from snnjax.data.pipeline import EvaluationBatches
from snnjax.models import Network
from snnjax.models.observation import SYNAPSES
from snnjax.models.summary import LayerSummary, spiking_macs, summarize
from snnjax.train.progress import watched


def images_of(trained: ModelOnData) -> Calibration:
    """Returns the examples of a loaded model in the format of the conversion functions.

    Args:
      trained: the model and its examples.
    """
    batches = EvaluationBatches(trained.examples, trained.batch_size)
    normalized = jax.jit(lambda image: trained.normalized({'image': image}))

    def iterate() -> Any:
        for batch in batches.iterate(trained.data.workers):
            yield Batch(normalized(batch['image']), batch['label'], batch['mask'])

    def watch(items: Any, what: str, total: int | None) -> Any:
        return iter(watched(items, what, total or len(batches)))

    return Calibration(iterate, len(trained.examples), watch)


def measure_curve(
    model: Network,
    variables: Mapping[str, Any],
    images: Calibration,
    image_shape: tuple[int, ...],
    steps: Sequence[int],
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Simulates a converted network once and measures accuracy and cost at several time steps.

    Args:
      model: the network.
      variables: the variables of the network.
      images: the test images.
      image_shape: the shape of an image, (H, W, C).
      steps: the numbers of time steps to measure at.

    Returns:
      A row per number of time steps, and the firing rate of each layer over the longest
      simulation. A row has ``num_steps``, ``images``, ``accuracy``, ``firing_rate``, ``spikes``
      (of all neurons per image), ``spikes_per_neuron`` (per image), ``syops`` and ``snn_joules``
      (by the paper's convention), ``acs``, ``macs`` and ``joules_by_layer`` (summed over layers).
      Operations and energies are per image; `snnjax.analysis.energy` defines them.
    """
    steps = sorted(set(steps))
    hits = dict.fromkeys(steps, 0)
    spikes: dict[str, np.ndarray] = {}
    inputs: dict[str, np.ndarray] = {}
    for batch in images.iterate(f'simulating {steps[-1]} time steps'):
        outcome = simulate(model, variables, batch.images, steps[-1], mask=batch.mask)
        for step, count in correct(outcome.logits, batch.labels, batch.mask, steps).items():
            hits[step] += count
        for sums, added in ((spikes, outcome.spikes), (inputs, outcome.inputs)):
            for name, counts in added.items():
                sums[name] = sums.get(name, 0) + counts
    model = model.unrolled().clone(num_steps=steps[-1])
    layers = summarize(model, image_shape)
    sizes = {
        '/'.join(call.path): math.prod(call.input.shape[2:])
        for call in trace(model, image_shape, *SYNAPSES)
    }
    rows = [
        {
            'num_steps': step,
            'images': images.count,
            'accuracy': hits[step] / images.count,
            **_costs(layers, sizes, spikes, inputs, step, images.count),
        }
        for step in steps
    ]
    rates = {
        layer.name: float(spikes[layer.name].sum()) / (_neurons(layer) * images.count * steps[-1])
        for layer in layers
        if layer.kind == 'neurons'
    }
    return rows, rates


def _costs(
    layers: Sequence[LayerSummary],
    sizes: Mapping[str, int],
    spikes: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    step: int,
    images: int,
) -> dict[str, float]:
    neurons = sum(_neurons(layer) for layer in layers if layer.kind == 'neurons')
    fired = sum(int(counts[:step].sum()) for counts in spikes.values()) / images
    rate = fired / neurons / step
    paper = Estimate(spiking_macs(list(layers)), rate, step)
    rates = {
        name: float(counts[:step].sum()) / (sizes[name] * images * step)
        for name, counts in inputs.items()
    }
    longest = max(layer.runs for layer in layers)
    over_steps = [
        dataclasses.replace(layer, runs=step if layer.runs == longest else layer.runs)
        for layer in layers
    ]
    energy = total(by_layer(over_steps, rates, step))
    return {
        'firing_rate': rate,
        'spikes': fired,
        'spikes_per_neuron': fired / neurons,
        'syops': paper.syops,
        'snn_joules': paper.snn_joules,
        'acs': energy.acs,
        'macs': energy.macs,
        'joules_by_layer': energy.joules,
    }


def _neurons(layer: LayerSummary) -> int:
    return math.prod(layer.shape)


def describe_silent(rates: Mapping[str, float]) -> list[str]:
    """Returns a warning for each layer that never fires and each that fires at every time step.

    Args:
      rates: the firing rates by layer name; `measure_curve` returns them.
    """
    lines = [
        f'{name} never fires: its threshold may be too high, or it needs more time steps'
        for name, rate in rates.items()
        if rate == 0
    ]
    return lines + [
        f'{name} fires at every time step: its threshold is too low'
        for name, rate in rates.items()
        if rate == 1
    ]
