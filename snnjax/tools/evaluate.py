"""Evaluates trained weights on every image of a split.

  python -m snnjax.tools.evaluate --weights=runs/cifar10 --dataset=cifar10
  python -m snnjax.tools.evaluate --weights=runs/cifar10 --dataset=cifar10 --num_steps=2

Weights are the work directory of a run, whose newest checkpoint counts, or a folder that
`snnjax.tools.import_torch` has written. The number of time steps may be another than in training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import jax
import ml_collections
from absl import logging

from snnjax.data import DATASETS, DatasetNotPreparedError, get_dataset
from snnjax.train.config import ConfigError, check, default_config
from snnjax.train.loop import evaluate
from snnjax.train.program import build_program
from snnjax.train.sharding import make_mesh
from snnjax.train.weights import WeightsError, describe_weights, fit_weights, load_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--weights', required=True, help='a work directory or folder of weights')
    parser.add_argument('--dataset', required=True, help=f'one of {", ".join(sorted(DATASETS))}')
    parser.add_argument('--data_dir', default='~/snnjax_data', help='where it was prepared')
    parser.add_argument('--split', default='test', choices=['test', 'train'])
    parser.add_argument('--num_steps', type=int, help='time steps; default: those of training')
    parser.add_argument('--batch_size', type=int, default=0, help='default: 100 for each device')
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)
    try:
        results = evaluate_weights(
            args.weights,
            args.dataset,
            data_dir=args.data_dir,
            split=args.split,
            num_steps=args.num_steps,
            batch_size=args.batch_size or 100 * jax.device_count(),
        )
    except (ConfigError, DatasetNotPreparedError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for key, value in results.items():
        print(f'{key.removeprefix("eval/").replace("_", " ")}: {value:.4f}')
    return 0


def evaluate_weights(
    weights: str, dataset: str, *, data_dir: str, split: str, num_steps: int | None, batch_size: int
) -> dict[str, float]:
    """Loss, accuracy and firing rate over a split; see `snnjax.train.loop.evaluate`.

    Raises:
      ConfigError: where the model cannot be run on the data set.
      DatasetNotPreparedError: where the data has to be made first.
      WeightsError: where there are no weights, or others than the model's.
    """
    config = _config(weights, dataset, data_dir, num_steps)
    config.eval_batch_size = batch_size
    mesh = make_mesh()
    config.batch_size = mesh.size
    check(config, mesh.size)
    program = build_program(config, mesh, steps_per_epoch=1)
    state = program.abstract_state()
    like = {'params': state.params, 'batch_stats': state.batch_stats}
    variables, _ = fit_weights(program.model, like, load_weights(weights))
    state = state._replace(**jax.device_put(variables, program.state_sharding))
    images = get_dataset(dataset).load(split, data_dir)
    return evaluate(program, state, images, batch_size)


def _config(
    weights: str, dataset: str, data_dir: str, num_steps: int | None
) -> ml_collections.ConfigDict:
    """A configuration with the model of the weights."""
    name, options = describe_weights(weights)
    config = default_config()
    config.data.name, config.data.dir = dataset, data_dir
    of_data = {'num_classes', 'in_channels'}
    with config.unlocked():
        config.model = {'num_steps': None} | {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in options.items()
            if key not in of_data
        }
        config.model.name = name
        if num_steps is not None:
            config.model.num_steps = num_steps
    return config


if __name__ == '__main__':
    sys.exit(main())
