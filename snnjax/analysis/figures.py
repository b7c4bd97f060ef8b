"""Figures. Each function draws one, as a PNG, and raises ImportError where there is no matplotlib."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnjax.analysis.runs import accuracies_by_depth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart in grey and by colour-blind eyes (Okabe and Ito 2008).
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKERS = 'osD^vPX'


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, its size in inches, and its axes from left to right."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.spines[['top', 'right']].set_visible(False)
    return figure, list(axes)


def save_learning_curves(records: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws loss, accuracy and firing rate over epochs, in training and on the test images.

    Args:
      records: lines of ``metrics.jsonl``, see `snnjax.train.writers.read_metrics`.
      path: of the PNG.
    """
    figure, axes = new_figure(12, 3.6, columns=3)
    quantities = {'loss': 'cross-entropy', 'accuracy': 'accuracy', 'firing_rate': 'firing rate'}
    for ax, (key, label) in zip(axes, quantities.items(), strict=True):
        for split, name in (('train', 'training'), ('eval', 'test')):
            points = [(r['epoch'], r[f'{split}/{key}']) for r in records if f'{split}/{key}' in r]
            if points:
                ax.plot(*zip(*points, strict=True), label=name, marker='.', linewidth=1.2)
        ax.set_xlabel('epoch')
        ax.set_ylabel(label)
        ax.legend()
    figure.savefig(path, dpi=150)


def save_accuracy_by_depth(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws table 2: test accuracy by depth, a line a family; every seed as a point.

    Args:
      rows: of a sweep, see `snnjax.analysis.runs.summarise_run`.
      path: of the PNG.
    """
    figure, (ax,) = new_figure(6.4, 4.2)
    for i, (family, by_depth) in enumerate(accuracies_by_depth(rows).items()):
        depths = sorted(by_depth)
        means = [statistics.fmean(by_depth[depth]) for depth in depths]
        style = {'color': COLOURS[i % len(COLOURS)], 'marker': MARKERS[i % len(MARKERS)]}
        ax.plot(depths, means, label=family, **style)
        points = [(depth, value) for depth in depths for value in by_depth[depth]]
        ax.scatter(*zip(*points, strict=True), alpha=0.4, s=18, **style)
    ax.set_xticks(sorted({row['depth'] for row in rows}))
    ax.set_xlabel('depth (layers)')
    ax.set_ylabel('test accuracy (%)')
    ax.set_title(_setting(rows), fontsize=9)
    ax.legend()
    figure.savefig(path, dpi=150)


def _setting(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the runs have in common."""
    first = rows[0]
    seeds = len({row['seed'] for row in rows})
    return (
        f'{first["data"]}, T = {first["num_steps"]}, {first["images"]:,} training images shown '
        f'in {first["epochs"]} epoch{"s" if first["epochs"] > 1 else ""}, '
        f'{seeds} seed{"s" if seeds > 1 else ""}'
    )


def save_curves_by_depth(
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[Mapping[str, float]]],
    path: Path,
) -> None:
    """Draws figure 3: accuracy in training by epoch, a panel a family, a line a depth.

    Runs of further seeds, and those whose metrics are gone, are left out.

    Args:
      rows: of a sweep.
      metrics: lines of ``metrics.jsonl`` by the name of the run.
      path: of the PNG.
    """
    families = list(dict.fromkeys(row['family'] for row in rows))
    figure, axes = new_figure(3.2 * len(families) + 0.6, 3.4, columns=len(families))
    depths = sorted({row['depth'] for row in rows})
    for ax, family in zip(axes, families, strict=True):
        drawn = set()
        for row in rows:
            records = [r for r in metrics[row['run']] if 'train/accuracy' in r]
            if row['family'] != family or row['depth'] in drawn or not records:
                continue
            drawn.add(row['depth'])
            ax.plot(
                [record['epoch'] for record in records],
                [100 * record['train/accuracy'] for record in records],
                label=f'{row["depth"]} layers',
                color=COLOURS[depths.index(row['depth']) % len(COLOURS)],
            )
        ax.set_title(family, fontsize=10)
        ax.set_xlabel('epoch')
        ax.sharey(axes[0])
    axes[0].set_ylabel('accuracy in training (%)')
    axes[-1].legend(fontsize=8)
    figure.savefig(path, dpi=150)
