"""Learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def save_learning_curves(records: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws loss, accuracy and firing rate over epochs, in training and on the test images.

    Args:
      records: lines of ``metrics.jsonl``, see `snnjax.train.writers.read_metrics`.
      path: of the PNG.

    Raises:
      ImportError: without matplotlib.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(12, 3.6), layout='constrained')
    axes = figure.subplots(1, 3)
    quantities = {'loss': 'cross-entropy', 'accuracy': 'accuracy', 'firing_rate': 'firing rate'}
    for ax, (key, label) in zip(axes, quantities.items(), strict=True):
        for split, name in (('train', 'training'), ('eval', 'test')):
            points = [(r['epoch'], r[f'{split}/{key}']) for r in records if f'{split}/{key}' in r]
            if points:
                ax.plot(*zip(*points, strict=True), label=name, marker='.', linewidth=1.2)
        ax.set_xlabel('epoch')
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(path, dpi=150)
