"""Measures how fast the batches of a configuration are made, and whether training waits for them.

  python -m snnjax.tools.bench_data --config=configs/fake_imagenet.py:depth=18

Batches are made on one core, then with the threads or processes of training (`data.workers`), then
in training steps. Compiling a large network takes minutes; --steps=0 skips the training steps.
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
    """Runs the command and returns its exit status."""
    logging.set_verbosity(logging.ERROR)
    parser = ConfigParser(__doc__, _USAGE)
    parser.add_argument(
        '--batches', type=int, default=16, help='number of batches per measurement; default 16'
    )
    parser.add_argument(
        '--steps', type=int, default=8, help='number of training steps; 0 for none; default 8'
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
    # These are enough for both measurements and their first, untimed batches.
    batches = dataclasses.replace(batches, num_batches=args.batches + args.steps + 2)
    measure(setup, batches, args.batches, args.steps)


def measure(setup: Setup, batches: TrainingBatches, count: int, steps: int) -> None:
    """Prints images per second, and the share of the training time spent waiting for data.

    Args:
      setup: the setup of a run.
      batches: the training batches of the run.
      count: the number of batches per measurement.
      steps: the number of training steps; 0 for none.
    """
    config = setup.config
    shape = 'x'.join(map(str, batches[0]['image'].shape[1:]))  # The first batch also warms up.
    print(f'{config.data.name}: batches of {counted(config.batch_size, "image")}, {shape}')
    _report('one core', config.batch_size, _time(batches[i] for i in range(count)), count)
    workers = config.data.workers
    made = batches.iterate(0, workers)
    next(made)  # The first batch starts the workers.
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
    """Returns the seconds spent waiting for data, and the seconds of all steps."""
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
        # A finished step makes sure that the time to the next batch is waiting alone.
        jax.block_until_ready(state)
    return waiting, time.perf_counter() - start


if __name__ == '__main__':
    sys.exit(main())
