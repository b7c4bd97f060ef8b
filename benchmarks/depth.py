r"""Seconds per training step by depth and by number of time steps, on this machine.

pip install '.[plots]'
python benchmarks/depth.py
python benchmarks/depth.py --depths 8 20 44 110 482 --json=out.json --plot=out.png

The networks are MS-ResNets for CIFAR in float32. Depths take turns with two time steps, and numbers
of time steps take turns at depth 20. Figures are medians. A straight line is fitted to each series
by least squares.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import jax
import matplotlib.figure
import numpy as np
from peers import SnnjaxProgram, make_batch, make_weights, timed

SIZE, NUM_STEPS, DEPTH = 32, 2, 20


def seconds_of_a_step(cases: list[tuple[int, int]], batch: int, rounds: int) -> list[float]:
    """Returns the median seconds per step of each case (depth, time steps); cases take turns."""
    images, labels = make_batch(batch, SIZE, num_classes=10)
    programs = []
    with tempfile.TemporaryDirectory() as folder:
        for depth, num_steps in cases:
            weights = Path(folder) / f'{depth}.npz'
            if not weights.exists():
                make_weights(f'ms_resnet{depth}', weights)
            program = SnnjaxProgram(f'ms_resnet{depth}', num_steps, weights)
            program.put(images, labels)
            program.train()
            programs.append(program)
    times = [[timed(program.train)[1] for program in programs] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def fit_line(x: list[int], y: list[float]) -> dict[str, float]:
    """Returns the straight line with the least relative errors, and its largest relative error."""
    weights = 1 / np.array(y)
    slope, start = np.polyfit(x, y, 1, w=weights)
    errors = np.abs((slope * np.array(x) + start) * weights - 1)
    return {'slope': slope, 'start': start, 'largest_error': float(errors.max())}


def plot(results: dict[str, Any], path: Path) -> None:
    """Plots seconds over depth and over time steps, with their fitted lines."""
    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout='constrained')
    for ax, (key, result) in zip(figure.subplots(1, 2), results['series'].items(), strict=True):
        x, line = np.array(result['x']), result['line']
        ends = np.array([0, x.max()])
        ax.plot(ends, line['slope'] * ends + line['start'], color='0.6', linewidth=1.2)
        ax.plot(x, result['seconds'], 'o', color='tab:blue')
        ax.set_xlabel({'depth': 'depth (layers)', 'time_steps': 'time steps T'}[key])
        ax.set_ylabel('seconds per training step')
        ax.set_title(f'{result["fixed"]}, {results["batch"]} images', fontsize=10)
        ax.set_ylim(bottom=0)
        ax.set_xlim(left=0)
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--depths', type=int, nargs='+', default=[8, 20, 32, 44, 56, 110])
    parser.add_argument('--time_steps', type=int, nargs='+', default=[1, 2, 3, 4, 6, 8])
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    args = parser.parse_args()
    series = {
        'depth': (args.depths, [(depth, NUM_STEPS) for depth in args.depths], f'T = {NUM_STEPS}'),
        'time_steps': (args.time_steps, [(DEPTH, t) for t in args.time_steps], f'depth {DEPTH}'),
    }
    results: dict[str, Any] = {
        'batch': args.batch,
        'size': SIZE,
        'rounds': args.rounds,
        'jax': jax.__version__,
        'python': platform.python_version(),
        'series': {},
    }
    for key, (x, cases, fixed) in series.items():
        seconds = seconds_of_a_step(cases, args.batch, args.rounds)
        line = fit_line(x, seconds)
        results['series'][key] = {'fixed': fixed, 'x': x, 'seconds': seconds, 'line': line}
        print(f'{fixed}, {args.batch} images of {SIZE}x{SIZE}')
        for value, measured in zip(x, seconds, strict=True):
            fitted = line['slope'] * value + line['start']
            print(f'{key.replace("_", " ")} {value:4d}  {measured:7.3f} s  line {fitted:7.3f} s')
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + '\n')
    if args.plot:
        plot(results, args.plot)


if __name__ == '__main__':
    main()
