"""Tells how fast the batches of a configuration are made, and whether training waits for them.

  python -m snnjax.tools.bench_data --config=configs/fake_imagenet.py:depth=18

First one core makes batches, one by one; then as many threads, or processes (`data.workers`), as in
training; then training steps are taken on them. With --steps=0 there are none: a large network
takes minutes to compile.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from absl import logging

from snnjax.errors import ConfigError
from snnjax.spelling import count as counted
from snnjax.tools.config_arguments import ConfigParser, run_with_config

if TYPE_CHECKING:
    import ml_collections

    from snnjax.data.pipeline import TrainingBatches
    from snnjax.train.experiment import Setup

_USAGE = 'python -m snnjax.tools.bench_data --config=configs/NAME.py'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    logging.set_verbosity(logging.ERROR)
    parser = ConfigParser(__doc__, _USAGE)
    parser.add_argument('--batches', type=int, default=16, help='to make each way (16)')
    parser.add_argument(
        '--steps', type=int, default=8, help='training steps to take; 0 for none (8)'
    )
    return run_with_config(parser, argv, _measure_config)


def _measure_config(args: argparse.Namespace, config: ml_collections.ConfigDict) -> None:
    import jax

    from snnjax.train.experiment import check, training_batches

    for name, least in (('batches', 1), ('steps', 0)):
        if getattr(args, name) < least:
            raise ConfigError(f'--{name}={getattr(args, name)} must be at least {least}')
    *_, setup = check(config, jax.device_count())
    batches = training_batches(setup)
    # As many as asked for, and some to warm up.
    batches = dataclasses.replace(batches, num_batches=args.batches + args.steps + 2)
    measure(setup, batches, args.batches, args.steps)


def measure(setup: Setup, batches: TrainingBatches, count: int, steps: int) -> None:
    """Prints images per second, and the share of the time of training steps spent waiting.

    Args:
      setup: of a run.
      batches: of its training.
      count: batches to make each way.
      steps: training steps to take; 0 for none.
    """
    config = setup.config
    shape = 'x'.join(map(str, batches[0]['image'].shape[1:]))  # And warms up.
    print(f'{config.data.name}: batches of {counted(config.batch_size, "image")}, {shape}')
    _report('one core', config.batch_size, _time(batches[i] for i in range(count)), count)
    workers = config.data.workers
    made = batches.iterate(0, workers)
    next(made)  # Starts them.
    ways = counted(workers, 'process') if workers else 'threads'
    _report(ways, config.batch_size, _time(next(made) for _ in range(count)), count)
    if steps:
        waiting, total = _train(setup, batches, steps)
        _report('in training', config.batch_size, total, steps)
        print(f'{"waiting for data":18}{waiting / total:10.1%}')


def _time(batches: Iterable[object]) -> float:
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def _report(what: str, batch_size: int, seconds: float, count: int) -> None:
    print(f'{what:18}{batch_size * count / seconds:10.1f} images/s')


def _train(setup: Setup, batches: TrainingBatches, steps: int) -> tuple[float, float]:
    """Seconds for which nothing was done but to wait for data, and seconds in all."""
    import jax

    from snnjax.train.program import build_program
    from snnjax.train.sharding import make_mesh, put_batch

    config, mesh = setup.config, make_mesh(fsdp=setup.config.fsdp)
    program = build_program(config, setup.dataset, setup.model, mesh, batches.per_epoch)
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


if __name__ == '__main__':
    sys.exit(main())
