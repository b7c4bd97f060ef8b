"""Figures of networks on event streams."""

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
from snnjax.analysis.styles import network_styles

Rows = Sequence[Mapping[str, Any]]


def save_early_answers(curves: Mapping[str, Rows], path: Output) -> None:
    """Draws accuracy over the time since the first event, with one line per network.

    Args:
      curves: the rows of `snnjax.analysis.early_answers.measure_early_answers` by network.
      path: the path of the PNG.
    """
    figure, (axes,) = new_figure(6, 3.8)
    in_time = all(row['milliseconds'] for rows in curves.values() for row in rows)
    styles = network_styles(curves)
    for name, rows in curves.items():
        times = [row['milliseconds'] if in_time else 100 * row['share'] for row in rows]
        accuracies = [100 * row['accuracy'] for row in rows]
        axes.plot(times, accuracies, label=label_of(name), **styles[name])
    axes.set_xlim(left=0)
    axes.set_xlabel('time since the first event (ms)' if in_time else 'share of frames seen (%)')
    axes.set_ylabel('test accuracy (%)')
    axes.legend(fontsize=7)
    counts = {rows[0]['images'] for rows in curves.values()}
    images = ' and '.join(f'{count:,}' for count in sorted(counts))
    figure.suptitle(f'logits averaged over the frames so far, {images} recordings', fontsize=9)
    save_figure(figure, path)


def save_event_table(rows: Rows, path: Output) -> None:
    """Draws accuracy over energy, with one panel per data set.

    Args:
      rows: the rows of `snnjax.analysis.event_table`. A row without an energy is drawn as a
        horizontal line.
      path: the path of the PNG.
    """
    datasets = list(dict.fromkeys(row['dataset'] for row in rows))
    figure, plots = new_figure(4.8 * len(datasets), 3.8, columns=len(datasets))
    for axes, dataset in zip(plots, datasets, strict=True):
        chosen = [row for row in rows if row['dataset'] == dataset]
        styles = network_styles([row['network'] for row in chosen])
        for row in chosen:
            style, accuracy = styles[row['network']], 100 * row['accuracy']
            label = label_of(row['network'])
            if row.get('energy_mJ'):
                point = style | {'linestyle': 'none', 'markersize': 7}
                axes.plot([row['energy_mJ']], [accuracy], label=label, **point)
            else:
                label = f'{label} (no energy)'
                axes.axhline(accuracy, color=style['color'], linestyle=':', label=label)
        if any(row.get('energy_mJ') for row in chosen):
            use_log_scale(axes)
        axes.set_title(dataset, fontsize=9)
        axes.set_xlabel('energy per recording (mJ), compute only')
        axes.legend(fontsize=7)
    plots[0].set_ylabel('test accuracy (%)')
    save_figure(figure, path)
