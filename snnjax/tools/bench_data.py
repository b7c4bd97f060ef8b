"""Tells how fast the batches of a configuration are made, and whether training waits for them.

  python -m snnjax.tools.bench_data --config=configs/fake_imagenet.py:depth=18

First one core makes batches, one by one; then as many threads, or processes (`data.workers`), as in
training; then training steps are taken on them. With --steps=0 there are none: a large network
takes minutes to compile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

import jax
import ml_collections
from absl import flags, logging

from snnjax.data import DatasetNotPreparedError, DecodeError
from snnjax.data.pipeline import TrainingBatches
from snnjax.train.config import ConfigError, check, dataset_of
from snnjax.train.config_flag import define_config_flag, fail, run
from snnjax.train.phases import training_batches
from snnjax.train.program import build_program
from snnjax.train.sharding import make_mesh, put_batch

_CONFIG = define_config_flag()
_BATCHES = flags.DEFINE_integer('batches', 16, 'Batches to make each way.', lower_bound=1)
_STEPS = flags.DEFINE_integer('steps', 8, 'Training steps to take; 0 for none.', lower_bound=0)


def main(argv: list[str]) -> None:
    """Runs the measurements that the flags describe."""
    del argv
    logging.set_verbosity(logging.ERROR)
    config = _CONFIG.value
    try:
        check(config, jax.device_count())
        batches = training_batches(config, dataset_of(config).load('train'))
        # As many as asked for, and some to warm up.
        batches = dataclasses.replace(batches, num_batches=_BATCHES.value + _STEPS.value + 2)
        measure(config, batches, _BATCHES.value, _STEPS.value)
    except (ConfigError, DatasetNotPreparedError, DecodeError) as error:
        fail(str(error))


def measure(
    config: ml_collections.ConfigDict, batches: TrainingBatches, count: int, steps: int
) -> None:
    """Prints images per second, and the share of the time of training steps spent waiting.

    Args:
      config: of a run.
      batches: of its training.
      count: batches to make each way.
      steps: training steps to take; 0 for none.
    """
    shape = 'x'.join(map(str, batches[0]['image'].shape[1:]))  # And warms up.
    print(f'{config.data.name}: batches of {config.batch_size} images, {shape}')
    _report('one core', config.batch_size, _time(batches[i] for i in range(count)), count)
    workers = config.data.workers
    made = batches.iterate(0, workers)
    next(made)  # Starts them.
    ways = f'{workers} processes' if workers else 'threads'
    _report(ways, config.batch_size, _time(next(made) for _ in range(count)), count)
    if steps:
        waiting, total = _train(config, batches, steps)
        _report('in training', config.batch_size, total, steps)
        print(f'{"waiting for data":18}{waiting / total:10.1%}')


def _time(batches: Iterable[object]) -> float:
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def _report(what: str, batch_size: int, seconds: float, count: int) -> None:
    print(f'{what:18}{batch_size * count / seconds:10.1f} images/s')


def _train(
    config: ml_collections.ConfigDict, batches: TrainingBatches, steps: int
) -> tuple[float, float]:
    """Seconds for which nothing was done but to wait for data, and seconds in all."""
    program = build_program(config, make_mesh(fsdp=config.fsdp), batches.per_epoch)
    state = program.init()
    made = batches.iterate(0, config.data.workers)
    waiting, start = 0.0, 0.0
    for step in range(steps + 1):
        if step == 1:  # The first step compiles.
            waiting, start = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = put_batch(next(made), program.batch_sharding)
        waiting += time.perf_counter() - asked
        state, _ = program.train_step(state, batch)
        # Data is only waited for while there is no step to be done.
        jax.block_until_ready(state)
    return waiting, time.perf_counter() - start


_USAGE = 'python -m snnjax.tools.bench_data --config=configs/NAME.py'

if __name__ == '__main__':
    run(main, required=('config',), usage=_USAGE)
