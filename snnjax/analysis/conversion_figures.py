"""Figures of converted networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snnjax.analysis.figure_parts import (
    Output,
    label_of,
    new_figure,
    save_figure,
    use_log_scale,
)
from snnjax.analysis.styles import NETWORKS, method_styles
from snnjax.spelling import count


def save_conversion(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Output) -> None:
    """Draws accuracy over time steps and over energy, with one line per method.

    Args:
      curves: the rows of `snnjax.analysis.conversion_curve.measure_curve` by method, with the
        accuracy of the ANN as ``ann_accuracy``. Rows of networks that were not converted lack it.
      path: the path of the PNG.
    """
    figure, (by_steps, by_energy) = new_figure(11, 3.8, columns=2)
    styles = method_styles(curves)
    for name, rows in curves.items():
        accuracy = [100 * row['accuracy'] for row in rows]
        steps = [row['num_steps'] for row in rows]
        energy = [1e6 * row['joules_by_layer'] for row in rows]
        by_steps.plot(steps, accuracy, label=label_of(name), **styles[name])
        by_energy.plot(energy, accuracy, **styles[name])
    converted = [row for rows in curves.values() for row in rows if 'ann_accuracy' in row]
    anns = sorted({100 * row['ann_accuracy'] for row in converted})
    for axes in (by_steps, by_energy):
        for accuracy in anns:
            axes.axhline(accuracy, color=NETWORKS['ann'][0], linestyle=':')
    use_log_scale(by_energy)
    by_steps.set_xscale('log', base=2)
    by_steps.xaxis.set_major_formatter('{x:g}')
    by_steps.set_xlabel('time steps T')
    by_steps.set_ylabel('test accuracy (%)')
    by_energy.set_xlabel('energy per image (µJ), by layer, compute only')
    figure.legend(loc='outside right center', fontsize=8)
    images = next(iter(curves.values()))[0]['images']
    figure.suptitle(f'{count(images, "image")}; dotted: ANN', fontsize=9)
    save_figure(figure, path)
