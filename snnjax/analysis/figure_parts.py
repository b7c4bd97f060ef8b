"""Parts that figures share: axes, files, labels and the names of layers."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING

from snnjax.analysis.outputs import write_output
from snnjax.analysis.styles import VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The path of a file, or a file object opened for writing bytes.
Output = Path | IO[bytes]


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Returns an empty figure of a size in inches, and its axes row by row.

    Axes in the same column share their x axis.

    Args:
      width: the width of the figure in inches.
      height: the height of the figure in inches.
      columns: the number of columns of axes.
      rows: the number of rows of axes.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False, sharex='col').ravel()
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.set_axisbelow(True)
        ax.spines[['top', 'right']].set_visible(False)
    return figure, list(axes)


def save_figure(figure: Figure, path: Output) -> None:
    """Writes a figure in the format given by the file extension; PNG if there is none."""
    if not isinstance(path, PurePath):
        figure.savefig(path, dpi=150)
        return
    file = io.BytesIO()
    figure.savefig(file, dpi=150, format=path.suffix.removeprefix('.').lower() or 'png')
    write_output(path, file.getvalue())


def use_log_scale(ax: Axes) -> None:
    """Makes the x axis logarithmic, with ticks at 1, 2 and 5 times the powers of 10."""
    import matplotlib.ticker

    ax.set_xscale('log')
    ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter('{x:g}')
    ax.xaxis.set_minor_formatter('')


def label_of(name: str) -> str:
    """Returns a short label that matplotlib does not parse as a formula."""
    # Matplotlib leaves labels that begin with _ out of legends.
    shown = name if len(name) <= 40 else f'{name[:30]}…{name[-8:]}'
    return shown.replace('$', r'\$').lstrip('_') or '_'


def width_for(layers: int) -> float:
    """Returns the width in inches of a figure with the names of layers below its x axis."""
    return min(max(7.0, 1.5 + 0.13 * layers), 24.0)


def name_layers(ax: Axes, names: Sequence[str], silent: Collection[str] = ()) -> None:
    """Writes layer names below the x axis, at 1, 2, ...; the names of silent layers in vermilion.

    If the names do not fit, every second or third one is left out, but none of a silent layer.
    """
    step = -(-len(names) // 180)
    shown = [i for i, name in enumerate(names) if i % step == 0 or name in silent]
    labels = [label_of(names[i]) for i in shown]
    ax.set_xticks([i + 1 for i in shown], labels, rotation=90, fontsize=7)
    ax.set_xlim(0.2, len(names) + 0.8)
    for i, label in zip(shown, ax.get_xticklabels(), strict=True):
        if names[i] in silent:
            label.set_color(VERMILION)


def list_names(names: Sequence[str], most: int = 4) -> str:
    """Returns names as text; after the first few, only the number of further names."""
    text = ', '.join(map(label_of, names[:most]))
    return f'{text} and {len(names) - most} more' if len(names) > most else text
