"""Evaluates trained weights on every image of a split.

  python -m snnjax.tools.evaluate --weights=runs/cifar10
  python -m snnjax.tools.evaluate --weights=runs/imagenet --num_steps=6 \
      --data.eval_size=288 --data.eval_resize=320

Weights are the work directory of a run, whose newest checkpoint counts, or a folder that
`snnjax.tools.import_torch` has written. The number of time steps may be another than in training,
and so may every option of the data: those of a run are taken where nothing else is said, as long as
the data set is the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import logging

from snnjax.data import DataOptions, DatasetNotPreparedError, DecodeError
from snnjax.data.options import EVALUATION
from snnjax.train.config import ConfigError, check, dataset_of, default_config, describe_split
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
    parser.add_argument('--split', default='test', choices=['test', 'train'])
    parser.add_argument('--num_steps', type=int, help='time steps; default: those of training')
    parser.add_argument('--batch_size', type=int, default=0, help='default: 100 for each device')
    data = parser.add_argument_group('data', 'default: as in training')
    for field in dataclasses.fields(DataOptions):
        if field.name in EVALUATION:
            flags = {'name': '--dataset', 'dir': '--data_dir'}
            flag = flags.get(field.name, f'--data.{field.name}')
            kind = type(field.default)
            data.add_argument(flag, type=kind, metavar='VALUE', dest=f'data.{field.name}')
    args = vars(parser.parse_args(argv))
    logging.set_verbosity(logging.ERROR)
    options = {
        key.removeprefix('data.'): value
        for key, value in args.items()
        if key.startswith('data.') and value is not None
    }
    try:
        results = evaluate_weights(
            args['weights'],
            options,
            split=args['split'],
            num_steps=args['num_steps'],
            batch_size=args['batch_size'] or 100 * jax.device_count(),
        )
    except (ConfigError, DatasetNotPreparedError, DecodeError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(results.pop('data'))
    for key, value in results.items():
        print(f'{key.removeprefix("eval/").replace("_", " ")}: {value:.4f}')
    return 0


def evaluate_weights(
    weights: str,
    data: Mapping[str, Any],
    *,
    split: str = 'test',
    num_steps: int | None = None,
    batch_size: int,
) -> dict[str, Any]:
    """Loss, accuracy and firing rate over a split; see `snnjax.train.loop.evaluate`.

    Also ``data``, in words: which examples of which data set.

    Args:
      weights: a work directory or a folder of weights.
      data: fields of `DataOptions`, of those in `EVALUATION`, that are other than in training.
      split: 'test' or 'train', whose images are then as in testing, too.
      num_steps: time steps; None for those of training.
      batch_size: over all devices.

    Raises:
      ConfigError: where the model cannot be run on the data set.
      DatasetNotPreparedError: where the data has to be made first.
      DecodeError: for a photo that cannot be decoded.
      WeightsError: where there are no weights, or others than the model's.
    """
    config = _config(weights, data, num_steps)
    config.eval_batch_size = batch_size
    mesh = make_mesh()
    config.batch_size = mesh.size
    check(config, mesh.size)
    program = build_program(config, mesh, steps_per_epoch=1)
    like = program.abstract_state().variables
    variables, _ = fit_weights(program.model, like, load_weights(weights))
    variables = jax.device_put(variables, program.state_sharding.variables)
    examples = dataset_of(config).load(split)
    described = f'{config.data.name}: {len(examples):,} {split} examples{describe_split(config)}'
    results = evaluate(program, variables, examples, batch_size, config.data)
    return {'data': described, **results}


def _config(
    weights: str, data: Mapping[str, Any], num_steps: int | None
) -> ml_collections.ConfigDict:
    """A configuration with the model of the weights, and the data that they were trained on."""
    name, options = describe_weights(weights)
    config = default_config()
    trained_on = Path(weights).expanduser() / 'config.json'
    if trained_on.exists():
        trained = json.loads(trained_on.read_text())['data']
        if data.get('name', trained['name']) == trained['name']:
            config.data.update({key: trained[key] for key in EVALUATION})
    elif 'name' not in data:
        raise ConfigError(f'{weights} does not say which data set: give --dataset')
    config.data.update(dict(data))
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
