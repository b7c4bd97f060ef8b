"""Energy of computing, from numbers of operations: tables 5 and 10, and layer by layer.

Estimates of the arithmetic alone, in 45 nm technology: nothing of reading and writing memory, of
neurons, or of communication. A multiply-accumulate (MAC) of 32-bit floats takes 4.6 pJ, an
accumulate (AC), which is all that a spike asks of a synapse, 0.9 pJ (Horowitz 2014, as in table 5).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from snnjax.models import create_model
from snnjax.models.summary import LayerSummary, residual_macs, summarise

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
        """How many times the SNN's energy the ANN takes."""
        return self.ann_joules / self.snn_joules


@dataclasses.dataclass(frozen=True)
class LayerEnergy:
    """Operations of one convolution, or the classifier, for an image.

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


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A line of table 5 or 10 of the paper, in units of joules and operations.

    Attributes:
      model: our name of the network.
      size: of its images.
      estimate: with the operations as we count them, and the paper's rate and time steps.
      printed: what the paper has: ``macs``, ``ann_joules``, ``syops``, ``snn_joules``.
      reconstructed: an estimate that rounds to the printed digits.
      remark: how it comes about.
    """

    model: str
    size: int
    estimate: Estimate
    printed: Mapping[str, float]
    reconstructed: Mapping[str, float]
    remark: str


def paper_tables() -> list[PaperRow]:
    """Tables 5 and 10 computed again, from the firing rates that the paper gives."""
    rows = []
    of_34, _ = _count('ms_resnet34', 224)
    estimate, rounded = Estimate(of_34, 0.225, 6), Estimate(3.53e9, 0.225, 6)
    rows.append(
        PaperRow(
            model='ms_resnet34',
            size=224,
            estimate=estimate,
            printed={
                'macs': 3.53e9,
                'ann_joules': 16.22e-3,
                'syops': 4.77e9,
                'snn_joules': 4.29e-3,
            },
            reconstructed={
                'macs': estimate.macs,
                'ann_joules': estimate.ann_joules,
                'syops': rounded.syops,
                'snn_joules': rounded.snn_joules,
            },
            remark='synaptic operations are those of 3.53 G, rounded before it is multiplied',
        )
    )
    of_104, full_width = _count('ms_resnet104', 224)
    estimate = Estimate(full_width, 0.192, 5)
    rows.append(
        PaperRow(
            model='ms_resnet104',
            size=224,
            estimate=Estimate(of_104, 0.192, 5),
            printed={
                'macs': 11.79e9,
                'ann_joules': 54.24e-3,
                'syops': 11.32e9,
                'snn_joules': 10.19e-3,
            },
            reconstructed=_values(estimate),
            remark=(
                '11.79 G takes the first convolution of a stage to have as many input channels as '
                'output channels, where it has half of them'
            ),
        )
    )
    of_20, _ = _count('ms_resnet20_dvs', 128)
    estimate, rounded = Estimate(of_20, 0.2219, 1), Estimate(40.1e6, 8.32 / 40.1, 1)
    rows.append(
        PaperRow(
            model='ms_resnet20_dvs',
            size=128,
            estimate=estimate,
            printed={
                'macs': 40.11e6,
                'ann_joules': 184.46e-6,
                'syops': 8.32e6,
                'snn_joules': 7.49e-6,
            },
            reconstructed={**_values(rounded), 'macs': estimate.macs},
            remark=(
                '184.46 uJ are those of 40.1 M; 8.32 M are taken as printed: they stand for a rate '
                'of 0.2075, not for the 0.2219 of the text'
            ),
        )
    )
    return rows


def _values(estimate: Estimate) -> dict[str, float]:
    return {key: getattr(estimate, key) for key in ('macs', 'ann_joules', 'syops', 'snn_joules')}


def _count(name: str, size: int) -> tuple[int, int]:
    """Operations in residual paths; and what they were if no layer had narrower inputs."""
    model = create_model(name, num_steps=1)
    layers = summarise(model, (size, size, model.in_channels))
    full_width = 0
    for layer in layers:
        if layer.in_residual_path:
            height, width, channels = layer.shape
            full_width += 9 * channels**2 * height * width
    return residual_macs(layers), full_width


def describe_paper_tables() -> str:
    """Tables 5 and 10, ours and the printed numbers, as text."""
    lines = [f'{"":24}{"MACs":>10}{"E(ANN)":>12}{"SyOPs":>10}{"E(SNN)":>12}{"ratio":>8}']
    for row in paper_tables():
        kilo, unit, joules = (1e9, 'G', 'mJ') if row.size == 224 else (1e6, 'M', 'uJ')
        energy = 1e3 if joules == 'mJ' else 1e6
        estimate = row.estimate
        lines.append(f'{row.model}, rate {estimate.firing_rate}, T={estimate.num_steps}')
        for what, values in (
            ('computed', _values(estimate)),
            ('printed', row.printed),
            ('printed, explained', row.reconstructed),
        ):
            lines.append(
                f'  {what:22}{values["macs"] / kilo:8.2f} {unit}'
                f'{values["ann_joules"] * energy:9.2f} {joules}'
                f'{values["syops"] / kilo:8.2f} {unit}'
                f'{values["snn_joules"] * energy:9.2f} {joules}'
                f'{values["ann_joules"] / values["snn_joules"]:8.2f}'
            )
        lines.append(f'  {row.remark}')
    return '\n'.join(lines)


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
