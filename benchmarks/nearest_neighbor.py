"""Accuracy of the nearest training recording, a baseline for networks on event data.

python benchmarks/nearest_neighbor.py --dataset=dvs128_objects --data_dir=~/snnjax_data

A recording is a vector of event counts in each cell of the camera: the counts themselves, or their
square roots normalized to length 1.
"""

from __future__ import annotations

import argparse

import numpy as np

from snnjax.data import DataOptions, open_dataset


def cells(counts: np.ndarray, side: int) -> np.ndarray:
    """Returns the sums (N, cells) of events (N, H, W, 2) in cells of ``side`` x ``side`` pixels."""
    number, height, width, _ = counts.shape
    height, width = height // side * side, width // side * side
    split = counts[:, :height, :width].reshape(number, height // side, side, width // side, side, 2)
    return split.sum((2, 4, 5), dtype=np.float64).reshape(number, -1)


def accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Returns the share of test rows whose nearest training row has the same label."""
    distances = (train**2).sum(1) - 2 * test @ train.T
    return float((train_labels[distances.argmin(1)] == test_labels).mean())


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--dataset', required=True, help='a prepared data set of events')
    parser.add_argument('--data_dir', default='~/snnjax_data')
    parser.add_argument('--split', default='official')
    args = parser.parse_args()
    dataset = open_dataset(DataOptions(args.dataset, args.data_dir, args.split), num_steps=1)
    batches = {}
    for split in ('train', 'test'):
        examples = dataset.load(split)
        batches[split] = examples.examples(np.arange(len(examples)))
    labels = batches['train']['label'], batches['test']['label']
    print(f'{args.dataset}: {len(labels[0]):,} and {len(labels[1]):,} recordings')
    print(f'{"cell":>6}{"counts":>10}{"normalized":>12}')
    for side in (1, 2, 4, 8, 16):
        counts = [cells(batches[split]['image'][:, 0], side) for split in ('train', 'test')]
        roots = [np.sqrt(x) for x in counts]
        lengths = [np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9) for x in roots]
        normal = [x / length for x, length in zip(roots, lengths, strict=True)]
        plain, normalized = (accuracy(x[0], labels[0], x[1], labels[1]) for x in (counts, normal))
        print(f'{side:6}{plain:10.3f}{normalized:12.3f}')


if __name__ == '__main__':
    main()
