"""Draws the figures in docs/results again from the numbers that are committed beside them.

  python benchmarks/result_figures.py
  python benchmarks/result_figures.py --out=figures

Learning curves and depth_analysis/curves.png are left out. Without --out, the figures in
docs/results are replaced.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnjax.analysis.conversion_figures import save_conversion
from snnjax.analysis.event_figures import save_early_answers, save_event_table
from snnjax.analysis.figures import (
    save_accuracy_by_depth,
    save_comparison,
    save_isometry,
    save_similarity,
    save_time_steps,
)
from snnjax.analysis.runs import read_table
from snnjax.analysis.similarity import Similarity

RESULTS = Path(__file__).parents[1] / 'docs/results'

# The curves of each conversion figure: label and name of the CSV file.
CONVERSIONS = {
    'resnet20': {
        method: f'resnet20_{method}'
        for method in (
            *('rueckauer', 's_resnet', 'rts', 'calibration_light', 'calibration_advanced'),
            *('ltb', 'few_spikes'),
        )
    }
    | {'ms_resnet20': 'ms_resnet20'},
    'vgg': {
        method: f'vgg_{method}'
        for method in (
            *('rueckauer', 's_resnet', 'rts', 'calibration_light', 'calibration_advanced'),
            *('calibration_weights', 'ltb', 'qcfs'),
        )
    }
    | {'spike_norm (no bias)': 'plain_spike_norm', 'rmp (no bias)': 'plain_rmp'},
}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=RESULTS, help='folder to write the figures to')
    out = parser.parse_args().out
    for figure, curves in CONVERSIONS.items():
        rows = {name: read_rows(f'conversion/{file}.csv') for name, file in curves.items()}
        save_conversion(rows, out / f'conversion/{figure}.png')
    for data in ('cifar10', 'nmnist'):
        save_comparison(read_rows(f'compare/{data}.csv'), out / f'compare/{data}.png')
    save_accuracy_by_depth(
        read_rows('depth_analysis/results.csv'), out / 'depth_analysis/depth.png'
    )
    save_event_table(read_rows('table4/table4.csv'), out / 'table4/table4.png')
    answers = read_rows('table4/early_answers.csv')
    curves = {run: list(rows) for run, rows in itertools.groupby(answers, lambda row: row['run'])}
    save_early_answers(curves, out / 'table4/early_answers.png')
    name = 'time_steps/cifar10_ms_resnet20'
    save_time_steps(read_rows(f'{name}.csv'), 2, out / f'{name}.png', 'ms_resnet20')
    for name in ('initial', 'initial_gamma_0.1'):
        measured = read_json(f'isometry/{name}.json')
        save_isometry(measured, 32, out / f'isometry/{name}.png')
    similarity = read_json('similarity/depth_analysis.json')
    blocks = {name: list(map(to_similarity, rows)) for name, rows in similarity['blocks'].items()}
    save_similarity(blocks, similarity['images'], out / 'similarity/depth_analysis.png')


def read_rows(name: str) -> list[dict[str, Any]]:
    """Returns the rows of a CSV file in docs/results."""
    return read_table(RESULTS / name)


def read_json(name: str) -> Any:
    """Returns the content of a JSON file in docs/results."""
    return json.loads((RESULTS / name).read_text())


def to_similarity(row: Mapping[str, Any]) -> Similarity:
    """Returns the similarity of a block with its mean as the only image."""
    ssim = None if row['ssim'] is None else np.array([row['ssim']])
    return Similarity(row['block'], ssim, row['identical'])


if __name__ == '__main__':
    main()
