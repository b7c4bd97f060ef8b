"""Draws the README's figure: test accuracy by depth, MS-ResNet against the vanilla spiking ResNet.

    python benchmarks/readme_figure.py [--out=FILE]

The left panel shows the runs of ``docs/results/depth_analysis/results.csv``. The right panel shows
the accuracies that the paper prints (table 2 of arXiv:2112.08954).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from snnjax.analysis.figures import new_figure, save_figure
from snnjax.analysis.runs import accuracies_by_depth, read_table

ROOT = Path(__file__).parents[1]
PAPER = {
    'ms_resnet': {8: 82.0, 14: 87.4, 20: 88.4, 32: 89.7, 44: 90.0, 56: 90.4},
    'vanilla_resnet': {8: 81.5, 14: 85.9, 20: 86.7, 32: 85.4, 44: 84.6, 56: 72.4},
}
STYLES = {
    'ms_resnet': ('MS-ResNet', '#0072B2', 'o'),
    'vanilla_resnet': ('vanilla spiking ResNet', '#D55E00', 's'),
}


def main() -> None:
    """Draws the figure into a PNG file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/_static/depth.png')
    measured = accuracies_by_depth(read_table(ROOT / 'docs/results/depth_analysis/results.csv'))
    figure, axes = new_figure(9.2, 3.5, columns=2)
    for family, (label, color, marker) in STYLES.items():
        here = {depth: statistics.fmean(values) for depth, values in measured[family].items()}
        for ax, accuracies in zip(axes, (here, PAPER[family]), strict=True):
            depths = sorted(accuracies)
            values = [accuracies[depth] for depth in depths]
            ax.plot(depths, values, color=color, marker=marker, label=label)
    axes[0].set_title('snnjax: 1 epoch, T = 2', fontsize=10)
    axes[1].set_title('paper, table 2: 100 epochs', fontsize=10)
    for ax in axes:
        ax.set_xticks([8, 20, 32, 44, 56])
        ax.set_xlabel('depth (layers)')
        ax.set_ylabel('CIFAR-10 test accuracy (%)')
    axes[0].set_ylim(0, 60)
    axes[0].axhline(10, color='#777777', linestyle=':', linewidth=1)
    axes[0].annotate('chance', (8, 11), color='#555555', fontsize=9)
    axes[1].set_ylim(70, 92)
    axes[1].set_yticks(range(70, 95, 5))
    axes[1].legend(loc='lower left')
    save_figure(figure, parser.parse_args().out)


if __name__ == '__main__':
    main()
