"""Figures of runs and networks.

Each function draws one figure and writes it as a PNG. It raises ImportError if matplotlib is
missing.
"""

from __future__ import annotations

import collections
import io
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from snnjax.analysis.outputs import write_output
from snnjax.analysis.runs import accuracies_by_depth, by_network, norms_by_block
from snnjax.spelling import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from snnjax.analysis.activity import NeuronActivity
    from snnjax.analysis.similarity import Similarity

# The path of a file, or a file object opened for writing bytes.
Output = Path | IO[bytes]

# These colors differ in gray scale and for color-blind readers (Okabe and Ito 2008).
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKERS = 'osD^vPX'


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Returns an empty figure of a size in inches, and its axes from left to right."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.set_axisbelow(True)
        ax.spines[['top', 'right']].set_visible(False)
    return figure, list(axes)


def save_figure(figure: Figure, path: Output) -> None:
    """Writes a figure in the format given by the file extension; PNG if there is none."""
    if not isinstance(path, Path):
        figure.savefig(path, dpi=150)
        return
    file = io.BytesIO()
    figure.savefig(file, dpi=150, format=path.suffix.removeprefix('.').lower() or 'png')
    write_output(path, file.getvalue())


def _plain(name: str) -> str:
    """Returns a short label that matplotlib does not parse as a formula."""
    # Matplotlib leaves labels that begin with _ out of legends.
    shown = name if len(name) <= 40 else f'{name[:30]}…{name[-8:]}'
    return shown.replace('$', r'\$').lstrip('_') or '_'


def save_learning_curves(records: Sequence[Mapping[str, float]], path: Output) -> None:
    """Draws loss, accuracy and firing rate over epochs, on training and test images.

    Args:
      records: the lines of ``metrics.jsonl``; `snnjax.train.metric_writer.read_metrics` reads them.
      path: the path of the PNG.
    """
    figure, axes = new_figure(12, 3.6, columns=3)
    for ax, key in zip(axes, ('loss', 'accuracy', 'firing_rate'), strict=True):
        for split, name in (('train', 'training'), ('eval', 'test')):
            name_of = f'{split}/{key}'
            points = [(r['epoch'], r[name_of]) for r in records if {'epoch', name_of} <= r.keys()]
            if points:
                ax.plot(*zip(*points, strict=True), label=name, marker='.', linewidth=1.2)
        ax.set_xlabel('epoch')
        ax.set_ylabel(key.replace('_', ' '))
        if ax.lines:
            ax.legend()
    save_figure(figure, path)


def save_gradient_norms(records: Sequence[Mapping[str, float]], path: Output) -> None:
    """Draws the gradient norm over depth, at up to six points of the training.

    Args:
      records: the lines of ``metrics.jsonl`` of a run with ``gradient_norms``.
      path: the path of the PNG.
    """
    import matplotlib

    lines = [record for record in records if norms_by_block(record)]
    chosen = sorted({round(i) for i in np.linspace(0, len(lines) - 1, 6)})
    colours = matplotlib.colormaps['viridis'](np.linspace(0, 0.9, len(chosen)))
    figure, (ax,) = new_figure(7, 3.8)
    for number, colour in zip(chosen, colours, strict=True):
        record = lines[number]
        norms = list(norms_by_block(record).values())
        ax.plot(range(1, len(norms) + 1), norms, color=colour, label=f'epoch {record["epoch"]:.2g}')
    ax.set_yscale('log')
    ax.set_xlabel('block')
    ax.set_ylabel('gradient norm of the parameters')
    ax.locator_params(axis='x', integer=True)
    ax.legend(fontsize=8)
    save_figure(figure, path)


def save_accuracy_by_depth(rows: Sequence[Mapping[str, Any]], path: Output) -> None:
    """Draws table 2: test accuracy over depth, with one line per family and one point per seed.

    Args:
      rows: the rows of a sweep; `snnjax.analysis.runs.summarise_run` makes them.
      path: the path of the PNG.
    """
    figure, (ax,) = new_figure(6.4, 4.2)
    for i, (family, by_depth) in enumerate(accuracies_by_depth(rows).items()):
        depths = sorted(by_depth)
        means = [statistics.fmean(by_depth[depth]) for depth in depths]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        ax.plot(depths, means, label=family, color=colour, marker=marker)
        seeds = [depth for depth in depths for _ in by_depth[depth]]
        values = [value for depth in depths for value in by_depth[depth]]
        ax.scatter(seeds, values, alpha=0.4, s=18, color=colour, marker=marker)
    ax.set_xticks(sorted({row['depth'] for row in rows}))
    ax.set_xlabel('depth (layers)')
    ax.set_ylabel('test accuracy (%)')
    ax.set_title(_setting(rows), fontsize=9)
    ax.legend()
    save_figure(figure, path)


def _setting(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the settings that the runs share."""
    first = rows[0]
    each = collections.Counter((row['family'], row['depth']) for row in rows).values()
    return (
        f'{first["data"]}, T = {first["num_steps"]}, {first["images"]:,} training images shown '
        f'in {first["epochs"]} epoch{"s" if first["epochs"] > 1 else ""}, '
        f'{_seeds(each)}'
    )


def _seeds(each: Collection[int]) -> str:
    """Returns the number of seeds, or its range, as text."""
    fewest, most = min(each), max(each)
    number = f'{fewest} to {most}' if fewest < most else f'{most}'
    return f'{number} seed{"s" if most > 1 else ""}'


def save_curves_by_depth(
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[Mapping[str, float]]],
    path: Output,
) -> None:
    """Draws figure 3: training accuracy over epochs, with one panel per family, one line per depth.

    Only the first seed with metrics is drawn.

    Args:
      rows: the rows of a sweep.
      metrics: the lines of ``metrics.jsonl`` by run name.
      path: the path of the PNG.
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
    axes[0].set_ylabel('training accuracy (%)')
    axes[-1].legend(fontsize=8)
    save_figure(figure, path)


def save_similarity(
    measured: Mapping[str, Sequence[Similarity]], images: int, path: Output
) -> None:
    """Draws the radar chart of figure 2b: SSIM before and after each block.

    Blocks run clockwise from the top. A block that changes the resolution has no SSIM and leaves a
    gap.

    Args:
      measured: the results of `snnjax.analysis.similarity.measure_similarity` by network.
      images: the number of images that the SSIM is averaged over.
      path: the path of the PNG.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(5.6, 5.6), layout='constrained')
    ax: Any = figure.add_subplot(projection='polar')
    ax.set_theta_zero_location('N')
    ax.set_theta_direction(-1)
    lowest = 0.0
    for i, (name, blocks) in enumerate(measured.items()):
        angles = np.arange(len(blocks)) / len(blocks) * 2 * np.pi
        values = [np.nan if block.mean is None else block.mean for block in blocks]
        ax.plot(
            [*angles, 2 * np.pi],
            [*values, values[0]],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            label=_plain(name),
        )
        lowest = min(lowest, *(value for value in values if value == value))
    depths = {len(blocks) for blocks in measured.values()}
    # In networks of different depths, the same block has different angles: no ticks then.
    numbers = np.arange(depths.pop() if len(depths) == 1 else 0)
    angles = numbers / max(len(numbers), 1) * 2 * np.pi
    ax.set_xticks(angles, [str(number + 1) for number in numbers], fontsize=8)
    ax.set_ylim(lowest, 1.02)
    ax.set_title(
        f'SSIM of firing rates before and after each block, {count(images, "image")}', fontsize=9
    )
    ax.legend(loc='upper center', bbox_to_anchor=(0.5, -0.05), fontsize=8)
    save_figure(figure, path)


def save_isometry(measured: Mapping[str, Mapping[str, Any]], images: int, path: Output) -> None:
    """Draws ``phi`` of blocks, ``phi`` of firing decisions, and gradient norms over depth.

    Args:
      measured: the results of `snnjax.analysis.isometry.measure_isometry` by network.
      images: the number of images in the measured batch.
      path: the path of the PNG.
    """
    figure, (of_blocks, of_gates, of_gradients) = new_figure(13, 3.9, columns=3)
    for i, (name, results) in enumerate(measured.items()):
        style: dict[str, Any] = {
            'color': COLOURS[i % len(COLOURS)],
            'marker': MARKERS[i % len(MARKERS)],
            'markersize': 4,
            'label': _plain(name),
        }
        blocks = results['blocks']
        gates = [gate for gate in results['gates'] if gate['predicted'] is not None]
        numbers = range(1, len(blocks) + 1)
        of_blocks.errorbar(
            numbers, [b['phi'] for b in blocks], yerr=[b['error'] for b in blocks], **style
        )
        of_gates.plot(
            [gate['predicted'] for gate in gates],
            [gate['phi'] for gate in gates],
            linestyle='none',
            **style,
        )
        of_gradients.plot(numbers, list(results['gradient_norms'].values()), **style)
    of_blocks.axhline(1, color='grey', linewidth=1)
    of_blocks.set_ylabel(r'$\phi(JJ^T)$ of a block')
    of_gates.axline((0, 0), slope=1, color='grey', linewidth=1)
    of_gates.set_xlabel(r'$p / a^2$ (predicted)')
    of_gates.set_ylabel(r'$\phi(J_g J_g^T)$ of a firing decision')
    of_gradients.set_ylabel('gradient norm of the parameters')
    for ax in (of_blocks, of_gradients):
        ax.set_xlabel('block')
        ax.locator_params(axis='x', integer=True)
        # All gradient norms are 0 if no neuron fires, and a log axis cannot show 0.
        if any(np.any(np.asarray(line.get_ydata()) > 0) for line in ax.lines[: len(measured)]):
            ax.set_yscale('log')
    of_blocks.legend(fontsize=8)
    figure.suptitle(count(images, 'image'), fontsize=9)
    save_figure(figure, path)


def save_time_steps(rows: Sequence[Mapping[str, Any]], trained_at: int, path: Output) -> None:
    """Draws accuracy over time steps (the latency) and over energy.

    Args:
      rows: the rows of `snnjax.analysis.time_steps.measure_time_steps`.
      trained_at: the number of time steps of training; a dotted line marks it.
      path: the path of the PNG.
    """
    figure, (by_steps, by_energy) = new_figure(9, 3.6, columns=2)
    steps = [row['num_steps'] for row in rows]
    accuracy = [100 * row['accuracy'] for row in rows]
    by_steps.plot(steps, accuracy, color=COLOURS[0], marker='o')
    by_steps.axvline(trained_at, color='grey', linestyle=':', label='as in training')
    by_steps.set_xticks(steps)
    by_steps.set_xlabel('time steps T')
    by_steps.set_ylabel('test accuracy (%)')
    by_steps.legend()
    for i, (key, label) in enumerate(
        {'snn_joules': "paper's convention (mean rate)", 'joules_by_layer': 'by layer'}.items()
    ):
        energy = [1e6 * row[key] for row in rows]
        by_energy.plot(energy, accuracy, color=COLOURS[i], marker=MARKERS[i], label=label)
    by_energy.set_xlabel('energy per image (µJ), compute only')
    by_energy.legend()
    figure.suptitle(f'{rows[0]["images"]:,} images', fontsize=9)
    save_figure(figure, path)


def save_firing_rates(layers: Sequence[NeuronActivity], images: int, path: Output) -> None:
    """Draws the firing rate of each layer, and its shares of dead and of saturated neurons.

    Args:
      layers: the layers of neurons; `snnjax.analysis.activity.measure_activity` counts them.
      images: the number of images that the spikes were counted over.
      path: the path of the PNG.
    """
    figure, (of_rates, of_shares) = new_figure(11, 3.6, columns=2)
    numbers = range(1, len(layers) + 1)
    of_rates.bar(numbers, [layer.firing_rate for layer in layers], color=COLOURS[0])
    of_rates.set_ylabel('firing rate (spikes per neuron and time step)')
    for i, kind in enumerate(('dead', 'saturated')):
        shares = [100 * getattr(layer, kind) / layer.spikes.size for layer in layers]
        of_shares.plot(numbers, shares, color=COLOURS[i], marker=MARKERS[i], label=kind)
    of_shares.set_ylabel('share of neurons (%)')
    of_shares.set_ylim(bottom=0)
    of_shares.legend()
    for ax in (of_rates, of_shares):
        ax.set_xlabel('layer of neurons')
        ax.locator_params(axis='x', integer=True)
    figure.suptitle(count(images, 'image'), fontsize=9)
    save_figure(figure, path)


def save_confusion(confusion: np.ndarray, path: Output, names: Sequence[str] | None = None) -> None:
    """Draws the confusion matrix in percent; each row adds up to 100 %.

    Args:
      confusion: the number of images by (class, predicted class), an integer array of shape
        (classes, classes).
      path: the path of the PNG.
      names: the class names by label; None for the labels themselves. Names and percentages are
        written for up to 20 classes.
    """
    names = [_plain(name) for name in names or map(str, range(len(confusion)))]
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
            colour = 'white' if share > 50 else 'black'
            text = f'{share:.0f}'
            ax.text(column, row, text, ha='center', va='center', color=colour, fontsize=7)
    ax.set_xlabel('predicted class')
    ax.set_ylabel('true class')
    ax.set_title(count(int(confusion.sum()), 'image'), fontsize=9)
    save_figure(figure, path)


def save_layer_energy(energy: Mapping[str, Any], path: Output) -> None:
    """Draws the energy of each layer, with one color for spike input and one for real-valued input.

    Args:
      energy: the result of `snnjax.analysis.energy.estimate_energy`.
      path: the path of the PNG.
    """
    figure, (ax,) = new_figure(11, 3.4)
    layers = energy['layers']
    for i, kind in enumerate(('spikes', 'real')):
        chosen = [
            (n, 1e6 * row['joules']) for n, row in enumerate(layers, 1) if row['input'] == kind
        ]
        numbers, joules = zip(*chosen, strict=True) if chosen else ((), ())
        label = {
            'spikes': 'spike input (accumulates)',
            'real': 'real-valued input (multiply-accumulates)',
        }[kind]
        ax.bar(numbers, joules, color=COLOURS[i], label=label)
    ax.set_xlabel('convolutions, and the classifier')
    ax.locator_params(axis='x', integer=True)
    ax.set_ylabel('energy per image (µJ)')
    ax.set_title(energy['scope'], fontsize=9)
    ax.legend()
    save_figure(figure, path)


def save_comparison(rows: Sequence[Mapping[str, Any]], path: Output) -> None:
    """Draws accuracy over synaptic operations, and time and memory of a training step, by network.

    Args:
      rows: the rows of `snnjax.analysis.comparison.comparison_table`, one per run.
      path: the path of the PNG.
    """
    import matplotlib.ticker

    figure, (left, middle, right) = new_figure(12, 3.6, columns=3)
    networks = by_network(rows)
    for i, (name, seeds) in enumerate(networks.items()):
        colour = COLOURS[i % len(COLOURS)]
        syops = [row['syops'] / 1e6 for row in seeds]
        accuracies = [100 * row['accuracy'] for row in seeds]
        marker = MARKERS[i % len(MARKERS)]
        left.scatter(syops, accuracies, s=36, color=colour, marker=marker, label=_plain(name))
        for ax, key, unit in ((middle, 'step_seconds', 1e-3), (right, 'step_bytes', 1e6)):
            ax.barh(i, statistics.fmean(row[key] for row in seeds) / unit, color=colour)
    if all(row['syops'] > 0 for row in rows):
        left.set_xscale('log')
        left.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        left.xaxis.set_major_formatter('{x:g}')
        left.xaxis.set_minor_formatter('')
    left.set_xlabel('synaptic operations per image (millions)')
    left.set_ylabel('test accuracy (%)')
    left.legend(fontsize=8)
    for ax, label in ((middle, 'training step (ms)'), (right, 'memory of a training step (MB)')):
        ax.set_yticks(range(len(networks)), map(_plain, networks))
        ax.invert_yaxis()
        ax.set_xlabel(label)
    first = rows[0]
    figure.suptitle(
        f'{first["images"]:,} test images, T = {first["num_steps"]}, '
        f'{_seeds([len(seeds) for seeds in networks.values()])}',
        fontsize=9,
    )
    save_figure(figure, path)
