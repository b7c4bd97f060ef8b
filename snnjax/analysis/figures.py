"""Figures of runs and networks.

Each function draws one figure and writes it as a PNG. It raises ImportError if matplotlib is
missing.
"""

from __future__ import annotations

import collections
import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from snnjax.analysis.figure_parts import (
    Output,
    label_of,
    list_names,
    name_layers,
    new_figure,
    save_figure,
    use_log_scale,
    width_for,
)
from snnjax.analysis.runs import accuracies_by_depth, by_network, norms_by_block
from snnjax.analysis.styles import BLACK, GRAY, ORANGE, network_color, network_styles
from snnjax.spelling import count

if TYPE_CHECKING:
    from snnjax.analysis.activity import NeuronActivity
    from snnjax.analysis.similarity import Similarity


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
    colors = matplotlib.colormaps['viridis'](np.linspace(0, 0.9, len(chosen)))
    names = list(norms_by_block(lines[0]))
    figure, (ax,) = new_figure(width_for(len(names)), 4.4)
    for index, color in zip(chosen, colors, strict=True):
        record = lines[index]
        norms = list(norms_by_block(record).values())
        ax.plot(range(1, len(norms) + 1), norms, color=color, label=f'epoch {record["epoch"]:.2g}')
    ax.set_yscale('log')
    ax.set_xlabel('block')
    ax.set_ylabel('gradient norm of the parameters')
    name_layers(ax, names)
    ax.legend(fontsize=8)
    save_figure(figure, path)


def save_accuracy_by_depth(rows: Sequence[Mapping[str, Any]], path: Output) -> None:
    """Draws table 2: test accuracy over depth, with one line per family and one point per seed.

    Args:
      rows: the rows of a sweep; `snnjax.analysis.runs.summarize_run` makes them.
      path: the path of the PNG.
    """
    figure, (ax,) = new_figure(6.4, 4.2)
    families = accuracies_by_depth(rows)
    styles = network_styles(families)
    for family, by_depth in families.items():
        depths = sorted(by_depth)
        means = [statistics.fmean(by_depth[depth]) for depth in depths]
        style = styles[family]
        ax.plot(depths, means, label=family, **style)
        seeds = [depth for depth in depths for _ in by_depth[depth]]
        values = [value for depth in depths for value in by_depth[depth]]
        ax.plot(seeds, values, **style | {'linestyle': 'none', 'markersize': 4, 'alpha': 0.4})
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
        f'{first["data"]}, T = {first["num_steps"]}, {count(first["epochs"], "epoch")} '
        f'({count(first["images"], "training image")} in total), {seeds_text(each)}'
    )


def seeds_text(each: Collection[int]) -> str:
    """Returns the number of seeds, or its range, as text."""
    fewest, most = min(each), max(each)
    return count(most, 'seed') if fewest == most else f'{fewest} to {count(most, "seed")}'


def save_curves_by_depth(
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[Mapping[str, float]]],
    path: Output,
) -> None:
    """Draws figure 3: training accuracy over epochs, with one panel per family, one line per depth.

    Only the first seed with metrics is drawn. Deeper networks have lighter lines.

    Args:
      rows: the rows of a sweep.
      metrics: the lines of ``metrics.jsonl`` by run name.
      path: the path of the PNG.
    """
    import matplotlib

    families = list(dict.fromkeys(row['family'] for row in rows))
    figure, axes = new_figure(3.2 * len(families) + 0.6, 3.4, columns=len(families))
    depths = sorted({row['depth'] for row in rows})
    shades = matplotlib.colormaps['viridis'](np.linspace(0, 0.9, len(depths)))
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
                color=shades[depths.index(row['depth'])],
            )
        ax.set_title(family, fontsize=10, color=network_color(family))
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
    styles = network_styles(measured)
    for name, blocks in measured.items():
        angles = np.arange(len(blocks)) / len(blocks) * 2 * np.pi
        values = [np.nan if block.mean is None else block.mean for block in blocks]
        ax.plot(
            [*angles, 2 * np.pi],
            [*values, values[0]],
            label=label_of(name),
            **styles[name],
        )
        lowest = min([lowest, *(value for value in values if value == value)])
    # In networks with other blocks, the same block has another angle: no ticks then.
    named = {tuple(block.block for block in blocks) for blocks in measured.values()}
    names = named.pop() if len(named) == 1 else ()
    angles = np.arange(len(names)) / max(len(names), 1) * 2 * np.pi
    labels = [re.sub(r'stage(\d+)/block(\d+)', r'\1/\2', label_of(name)) for name in names]
    ax.set_xticks(angles, labels, fontsize=7)
    ax.set_ylim(lowest, 1.02)
    ax.set_title(
        f'SSIM of firing rates before and after each block (stage/block), {count(images, "image")}',
        fontsize=9,
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
    named = {tuple(results['gradient_norms']) for results in measured.values()}
    names = max(named, key=len)
    figure, (of_blocks, of_gates, of_gradients) = new_figure(
        min(max(13.0, 5 + 0.3 * len(names)), 40.0), 4.4, columns=3
    )
    styles = network_styles(measured)
    for name, results in measured.items():
        style = styles[name] | {'label': label_of(name), 'markersize': 4}
        blocks = results['blocks']
        gates = [gate for gate in results['gates'] if gate['predicted'] is not None]
        numbers = range(1, len(blocks) + 1)
        of_blocks.errorbar(
            numbers, [b['phi'] for b in blocks], yerr=[b['error'] for b in blocks], **style
        )
        of_gates.plot(
            [gate['predicted'] for gate in gates],
            [gate['phi'] for gate in gates],
            **style | {'linestyle': 'none'},
        )
        of_gradients.plot(numbers, list(results['gradient_norms'].values()), **style)
    of_blocks.axhline(1, color=GRAY, linewidth=1)
    of_blocks.set_ylabel(r'$\phi(JJ^T)$ of a block')
    of_gates.axline((0, 0), slope=1, color=GRAY, linewidth=1)
    of_gates.set_xlabel(r'$p / a^2$ (predicted)')
    of_gates.set_ylabel(r'$\phi(J_g J_g^T)$ of a firing decision')
    of_gradients.set_ylabel('gradient norm of the parameters')
    for ax in (of_blocks, of_gradients):
        ax.set_xlabel('block')
        if len(named) == 1:
            name_layers(ax, names)
        else:
            ax.locator_params(axis='x', integer=True)
        # All gradient norms are 0 if no neuron fires, and a log axis cannot show 0.
        if any(np.any(np.asarray(line.get_ydata()) > 0) for line in ax.lines[: len(measured)]):
            ax.set_yscale('log')
    of_gates.legend(fontsize=8)
    figure.suptitle(count(images, 'image'), fontsize=9)
    save_figure(figure, path)


def save_time_steps(
    rows: Sequence[Mapping[str, Any]], trained_at: int, path: Output, network: str = ''
) -> None:
    """Draws accuracy over time steps (the latency) and over energy.

    Args:
      rows: the rows of `snnjax.analysis.time_steps.measure_time_steps`.
      trained_at: the number of time steps of training; a dotted line marks it.
      path: the path of the PNG.
      network: the name of the network, for its color and the title.
    """
    style = network_styles([network])[network]
    figure, (by_steps, by_energy) = new_figure(9, 3.6, columns=2)
    steps = [row['num_steps'] for row in rows]
    accuracy = [100 * row['accuracy'] for row in rows]
    by_steps.plot(steps, accuracy, **style)
    by_steps.axvline(trained_at, color=GRAY, linestyle=':', label='as in training')
    by_steps.set_xticks(steps)
    by_steps.set_xlabel('time steps T')
    by_steps.set_ylabel('test accuracy (%)')
    by_steps.legend()
    labels = {'snn_joules': "paper's convention (mean rate)", 'joules_by_layer': 'by layer'}
    changes = {'snn_joules': {'linestyle': '--', 'markerfacecolor': 'white'}, 'joules_by_layer': {}}
    for key, label in labels.items():
        energy = [1e6 * row[key] for row in rows]
        by_energy.plot(energy, accuracy, label=label, **style | changes[key])
    by_energy.set_xlabel('energy per image (µJ), compute only')
    by_energy.legend()
    images = count(rows[0]['images'], 'image')
    figure.suptitle(f'{label_of(network)}, {images}' if network else images, fontsize=9)
    save_figure(figure, path)


def save_firing_rates(
    layers: Sequence[NeuronActivity], images: int, path: Output, network: str = ''
) -> None:
    """Draws the firing rate of each layer, and its shares of dead and of saturated neurons.

    The title lists the layers that never fire.

    Args:
      layers: the layers of neurons; `snnjax.analysis.activity.measure_activity` counts them.
      images: the number of images that the spikes were counted over.
      path: the path of the PNG.
      network: the name of the network, for its color.
    """
    names = [layer.name for layer in layers]
    silent = [layer.name for layer in layers if not layer.spikes.any()]
    figure, (of_rates, of_shares) = new_figure(width_for(len(layers)), 5.6, rows=2)
    places = range(1, len(layers) + 1)
    rates = [layer.firing_rate for layer in layers]
    of_rates.bar(places, rates, color=network_color(network) if network else GRAY)
    of_rates.set_ylabel('firing rate (spikes per\nneuron and time step)')
    for kind, color, marker in (('dead', BLACK, 'o'), ('saturated', ORANGE, 's')):
        shares = [100 * getattr(layer, kind) / layer.spikes.size for layer in layers]
        of_shares.plot(places, shares, color=color, marker=marker, markersize=4, label=kind)
    of_shares.set_ylabel('share of neurons (%)')
    of_shares.set_ylim(bottom=0)
    of_shares.legend()
    of_shares.set_xlabel('layer of neurons')
    name_layers(of_shares, names, silent)
    title = count(images, 'image')
    if silent:
        kind = 'layer that never fires' if len(silent) == 1 else 'layers that never fire'
        title += f'\n{kind}: {list_names(silent)}'
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def save_layer_energy(energy: Mapping[str, Any], path: Output, network: str = '') -> None:
    """Draws the energy of each layer; layers with real-valued input are hatched.

    The title lists the layers whose input is always 0.

    Args:
      energy: the result of `snnjax.analysis.energy.estimate_energy`.
      path: the path of the PNG.
      network: the name of the network, for its color.
    """
    layers = energy['layers']
    names = [row['name'] for row in layers]
    silent = [row['name'] for row in layers if not row['input_rate']]
    figure, (ax,) = new_figure(width_for(len(layers)), 4.2)
    color = network_color(network) if network else GRAY
    hatched = {'facecolor': 'white', 'edgecolor': color, 'hatch': '////'}
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ('spikes', 'spike input (accumulates)', {'color': color}),
        ('real', 'real-valued input (multiply-accumulates)', hatched),
    ]
    for kind, label, style in kinds:
        chosen = [i for i, row in enumerate(layers) if row['input'] == kind]
        joules = [1e6 * layers[i]['joules'] for i in chosen]
        ax.bar([i + 1 for i in chosen], joules, label=label, **style)
    ax.set_xlabel('convolutions and classifier')
    name_layers(ax, names, silent)
    ax.set_ylabel('energy per image (µJ)')
    title = energy['scope']
    if silent:
        title += f'\nno input spikes: {list_names(silent)}'
    ax.set_title(title, fontsize=9)
    ax.legend()
    save_figure(figure, path)


def save_comparison(rows: Sequence[Mapping[str, Any]], path: Output) -> None:
    """Draws accuracy over synaptic operations, and time and memory of a training step, by network.

    Args:
      rows: the rows of `snnjax.analysis.comparison.comparison_table`, one per run.
      path: the path of the PNG.
    """
    figure, (left, middle, right) = new_figure(12, 3.6, columns=3)
    networks = by_network(rows)
    models = {name: str(seeds[0].get('model', name)) for name, seeds in networks.items()}
    styles = network_styles(networks, models)
    for i, (name, seeds) in enumerate(networks.items()):
        style = styles[name]
        syops = [row['syops'] / 1e6 for row in seeds]
        accuracies = [100 * row['accuracy'] for row in seeds]
        left.plot(syops, accuracies, label=label_of(name), **style | {'linestyle': 'none'})
        for ax, key, unit in ((middle, 'step_seconds', 1e-3), (right, 'step_bytes', 1e6)):
            ax.barh(i, statistics.fmean(row[key] for row in seeds) / unit, color=style['color'])
    if all(row['syops'] > 0 for row in rows):
        use_log_scale(left)
    left.set_xlabel('synaptic operations per image (millions)')
    left.set_ylabel('test accuracy (%)')
    left.legend(fontsize=8)
    for ax, label in ((middle, 'training step (ms)'), (right, 'memory of a training step (MB)')):
        ax.set_yticks(range(len(networks)), map(label_of, networks))
        ax.invert_yaxis()
        ax.set_xlabel(label)
    first = rows[0]
    figure.suptitle(
        f'{count(first["images"], "test image")}, T = {first["num_steps"]}, '
        f'{seeds_text([len(seeds) for seeds in networks.values()])}',
        fontsize=9,
    )
    save_figure(figure, path)
