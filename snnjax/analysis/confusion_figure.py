"""The figure of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnjax.analysis.figure_parts import Output, label_of, new_figure, save_figure
from snnjax.spelling import count


def save_confusion(confusion: np.ndarray, path: Output, names: Sequence[str] | None = None) -> None:
    """Draws the confusion matrix in percent; each row adds up to 100 %.

    Args:
      confusion: the number of images by (class, predicted class), an integer array of shape
        (classes, classes).
      path: the path of the PNG.
      names: the class names by label; None for the labels themselves. Names and percentages are
        written for up to 20 classes.
    """
    names = [label_of(name) for name in names or map(str, range(len(confusion)))]
    figure, (ax,) = new_figure(6, 5.2)
    ax.grid(visible=False)
    shares = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap='Blues', vmin=0, vmax=100)
    figure.colorbar(image, label='share of the images of the class (%)')
    if len(confusion) <= 20:
        longest = max(map(len, names))
        ax.set_xticks(range(len(confusion)), names, rotation=90 if longest > 2 else 0)
        ax.set_yticks(range(len(confusion)), names)
        for (row, column), share in np.ndenumerate(shares):
            color = 'white' if share > 50 else 'black'
            text = f'{share:.0f}'
            ax.text(column, row, text, ha='center', va='center', color=color, fontsize=7)
    ax.set_xlabel('predicted class')
    ax.set_ylabel('true class')
    ax.set_title(count(int(confusion.sum()), 'image'), fontsize=9)
    save_figure(figure, path)
