"""Figures of converted networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snnjax.analysis.figures import COLOURS, MARKERS, Output, new_figure, save_figure


def save_conversion(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Output) -> None:
    """Draws accuracy over time steps and over energy, with one line per method.

    Args:
      curves: the rows of `snnjax.analysis.conversion_curve.measure_curve` by method, with the
        accuracy of the ANN as ``ann_accuracy``.
      path: the path of the PNG.
    """
    figure, (by_steps, by_energy) = new_figure(9.5, 3.8, columns=2)
    for i, (name, rows) in enumerate(curves.items()):
        style: dict[str, Any] = {
            'color': COLOURS[i % len(COLOURS)],
            'marker': MARKERS[i % len(MARKERS)],
            # Colors repeat after the last one: dashed lines tell the repeats from the first.
            'linestyle': '-' if i < len(COLOURS) else '--',
        }
        accuracy = [100 * row['accuracy'] for row in rows]
        steps = [row['num_steps'] for row in rows]
        energy = [1e6 * row['joules_by_layer'] for row in rows]
        by_steps.plot(steps, accuracy, label=name, markersize=4, **style)
        by_energy.plot(energy, accuracy, markersize=4, **style)
    anns = sorted({100 * row['ann_accuracy'] for rows in curves.values() for row in rows})
    for axes in (by_steps, by_energy):
        for accuracy in anns:
            axes.axhline(accuracy, color='grey', linestyle=':')
        axes.set_xscale('log')
    by_steps.set_xscale('log', base=2)
    by_steps.set_xlabel('time steps T')
    by_steps.set_ylabel('test accuracy (%)')
    by_energy.set_xlabel('energy per image (µJ), by layer, compute only')
    by_steps.legend(fontsize=7)
    images = next(iter(curves.values()))[0]['images']
    figure.suptitle(f'{images:,} images; dotted: the ANN', fontsize=9)
    save_figure(figure, path)
