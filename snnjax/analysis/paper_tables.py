"""A recomputation of tables 5 and 10 of the paper."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from snnjax.analysis.energy import Estimate
from snnjax.models import create_model
from snnjax.models.summary import spiking_macs, summarize


class Quantities(NamedTuple):
    """The quantities in a row of the tables: operations and joules per image."""

    macs: float
    ann_joules: float
    syops: float
    snn_joules: float


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row of table 5 or 10 of the paper.

    Attributes:
      model: the name of the network in snnjax.
      size: the height and width of its images in pixels.
      firing_rate: the firing rate in the paper.
      num_steps: the number of time steps in the paper; the table for event data covers one frame.
      computed: the quantities from the operations that snnjax counts.
      printed: the quantities printed in the paper.
      explained: the quantities that round to the printed digits.
      remark: the explanation of the difference between ``computed`` and ``printed``.
    """

    model: str
    size: int
    firing_rate: float
    num_steps: int
    computed: Quantities
    printed: Quantities
    explained: Quantities
    remark: str


def paper_tables() -> list[PaperRow]:
    """Computes tables 5 and 10 from the firing rates in the paper."""
    of_34, _ = _count('ms_resnet34', 224)
    of_104, full_width = _count('ms_resnet104', 224)
    of_20, _ = _count('ms_resnet20_dvs', 128)
    exact_34, rounded_34 = _estimate(of_34, 0.225, 6), _estimate(3.53e9, 0.225, 6)
    exact_20, rounded_20 = _estimate(of_20, 0.2219, 1), _estimate(40.1e6, 8.32 / 40.1, 1)
    return [
        PaperRow(
            'ms_resnet34',
            224,
            firing_rate=0.225,
            num_steps=6,
            computed=exact_34,
            printed=Quantities(3.53e9, 16.22e-3, 4.77e9, 4.29e-3),
            explained=Quantities(*exact_34[:2], *rounded_34[2:]),
            remark='the printed SyOPs follow from 3.53 G, rounded before the multiplication',
        ),
        PaperRow(
            'ms_resnet104',
            224,
            firing_rate=0.192,
            num_steps=5,
            computed=_estimate(of_104, 0.192, 5),
            printed=Quantities(11.79e9, 54.24e-3, 11.32e9, 10.19e-3),
            explained=_estimate(full_width, 0.192, 5),
            remark=(
                '11.79 G assumes that the first convolution of a stage has as many input as '
                'output channels; it has half as many'
            ),
        ),
        PaperRow(
            'ms_resnet20_dvs',
            128,
            firing_rate=0.2219,
            num_steps=1,
            computed=exact_20,
            printed=Quantities(40.11e6, 184.46e-6, 8.32e6, 7.49e-6),
            explained=Quantities(exact_20.macs, *rounded_20[1:]),
            remark=(
                '184.46 uJ follows from 40.1 M; the printed 8.32 M matches a rate of 0.2075, '
                'not the 0.2219 of the text'
            ),
        ),
    ]


def _estimate(macs: float, firing_rate: float, num_steps: int) -> Quantities:
    estimate = Estimate(macs, firing_rate, num_steps)
    return Quantities(macs, estimate.ann_joules, estimate.syops, estimate.snn_joules)


def _count(name: str, size: int) -> tuple[int, int]:
    """Returns the MACs in residual paths, as they are and with inputs as wide as the outputs."""
    model = create_model(name, num_steps=1)
    layers = summarize(model, (size, size, model.in_channels))
    full_width = 0
    for layer in layers:
        if layer.in_residual_path:
            height, width, channels = layer.shape
            full_width += 9 * channels**2 * height * width
    return spiking_macs(layers), full_width


def describe_paper_tables() -> str:
    """Returns tables 5 and 10 as text, with computed and printed numbers."""
    lines = [f'{"":24}{"MACs":>10}{"E(ANN)":>12}{"SyOPs":>10}{"E(SNN)":>12}{"ratio":>8}']
    for row in paper_tables():
        of_photos = row.size == 224
        operations, unit = (1e9, 'G') if of_photos else (1e6, 'M')
        joules, of_joules = (1e-3, 'mJ') if of_photos else (1e-6, 'uJ')
        lines.append(f'{row.model}, rate {row.firing_rate}, T={row.num_steps}')
        for what, values in (
            ('computed', row.computed),
            ('printed', row.printed),
            ('printed, explained', row.explained),
        ):
            lines.append(
                f'  {what:22}{values.macs / operations:8.2f} {unit}'
                f'{values.ann_joules / joules:9.2f} {of_joules}'
                f'{values.syops / operations:8.2f} {unit}'
                f'{values.snn_joules / joules:9.2f} {of_joules}'
                f'{values.ann_joules / values.snn_joules:8.2f}'
            )
        lines.append(f'  {row.remark}')
    return '\n'.join(lines)
