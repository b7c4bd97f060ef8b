"""Figures of networks on event streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snnjax.analysis.figures import COLOURS, MARKERS, Output, new_figure, save_figure

Rows = Sequence[Mapping[str, Any]]


def save_early_answers(curves: Mapping[str, Rows], path: Output) -> None:
    """Draws accuracy over the time since the first event, with one line per network.

    Args:
      curves: the rows of `snnjax.analysis.early_answers.measure_early_answers` by network.
      path: the path of the PNG.
    """
    figure, (axes,) = new_figure(6, 3.8)
    in_time = all(row['milliseconds'] for rows in curves.values() for row in rows)
    for i, (name, rows) in enumerate(curves.items()):
        times = [row['milliseconds'] if in_time else 100 * row['share'] for row in rows]
        style: dict[str, Any] = {'color': COLOURS[i % len(COLOURS)], 'markersize': 4}
        style['marker'] = MARKERS[i % len(MARKERS)]
        axes.plot(times, [100 * row['accuracy'] for row in rows], label=name, **style)
    axes.set_xlim(left=0)
    axes.set_xlabel('time since the first event (ms)' if in_time else 'share of frames seen (%)')
    axes.set_ylabel('test accuracy (%)')
    axes.legend(fontsize=7)
    counts = {rows[0]['images'] for rows in curves.values()}
    images = ' and '.join(f'{count:,}' for count in sorted(counts))
    figure.suptitle(f'{images} recordings, mean of the logits so far', fontsize=9)
    save_figure(figure, path)


def save_event_table(rows: Rows, path: Output) -> None:
    """Draws accuracy over energy, with one panel per data set.

    Args:
      rows: the rows of `snnjax.analysis.event_table`. A row without an energy is drawn as a
        horizontal line.
      path: the path of the PNG.
    """
    datasets = list(dict.fromkeys(row['dataset'] for row in rows))
    networks = list(dict.fromkeys(row['network'] for row in rows))
    figure, plots = new_figure(4.8 * len(datasets), 3.8, columns=len(datasets))
    for axes, dataset in zip(plots, datasets, strict=True):
        for row in rows:
            if row['dataset'] != dataset:
                continue
            i = networks.index(row['network'])
            colour, accuracy = COLOURS[i % len(COLOURS)], 100 * row['accuracy']
            if row.get('energy_mJ'):
                marker = MARKERS[i % len(MARKERS)]
                label = row['network']
                axes.scatter(row['energy_mJ'], accuracy, color=colour, marker=marker, label=label)
            else:
                label = f'{row["network"]} (no energy)'
                axes.axhline(accuracy, color=colour, linestyle=':', label=label)
        axes.set_xscale('log')
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_formatter('')
        axes.set_title(dataset, fontsize=9)
        axes.set_xlabel('energy per recording (mJ), compute only')
        axes.legend(fontsize=7)
    plots[0].set_ylabel('test accuracy (%)')
    save_figure(figure, path)
