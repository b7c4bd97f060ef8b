r"""Compares images per second of training by `snnjax.main` with those of the bare training step.

python benchmarks/loop.py --config=configs/digits.py:depth=8,num_steps=1 \
    '--config.model.widths=(1,1,1)' --config.batch_size=8 --steps=2000
python benchmarks/loop.py --config=configs/cifar10.py --config.model.dtype=bfloat16 \
    --config.data.dir=~/snnjax_data --steps=2000 --json=loop.json

The bare step is the compiled training step of the same configuration, called repeatedly with the
same batch on the device; the host waits for the last call only. The loop is
`snnjax.train.loop.train` with its data, log and progress, from the first line of its log to the
last, without evaluations and checkpoints. Both take turns in one process, and the medians are
compared. Their difference is the loop's overhead per step. On a machine with other work, the
process's CPU time over all threads is more reliable.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cards import describe_card

from snnjax.errors import ConfigError
from snnjax.tools.config_arguments import ConfigParser, run_with_config

_CLOCK = 'benchmark_clock'
# Lines of the training log have this key, lines of evaluations do not.
_OF_TRAINING = 'train/loss'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit status."""
    parser = ConfigParser(__doc__, 'python benchmarks/loop.py --config=configs/NAME.py')
    parser.add_argument('--steps', type=int, default=1000, help='training steps of a round (1000)')
    parser.add_argument('--rounds', type=int, default=3, help='rounds of both, in turns (3)')
    parser.add_argument('--json', type=Path, help='the output file for the results')
    return run_with_config(parser, argv, report)


def report(args: argparse.Namespace, config: Any) -> None:
    """Measures, prints the result, and writes it if requested."""
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    record = measure(config, args.steps, args.rounds)
    print(describe(record))
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + '\n')


def measure(config: Any, steps: int, rounds: int) -> dict[str, Any]:
    """Measures the bare step and the loop of a configuration, in turns.

    Args:
      config: the configuration of a run with a single phase.
      steps: the number of training steps of each round.
      rounds: the number of rounds of both.

    Returns:
      The seconds per step of all rounds, ``bare_seconds`` and ``loop_seconds``; the process's CPU
      time per step, ``bare_cpu_seconds`` and ``loop_cpu_seconds``; and figures derived from their
      medians.

    Raises:
      ConfigError: if the log has fewer than two lines in so many steps.
    """
    if config.earlier_phases:
        raise ConfigError('earlier_phases: give a configuration with a single phase')
    if steps < 2 * config.log_every:
        raise ConfigError(
            f'--steps={steps} must be at least 2 x log_every={2 * config.log_every}, for two lines '
            f'of the log'
        )
    bare_step = BareStep(config)
    rounds_of = [
        (bare_step.seconds(steps), seconds_in_loop(config, steps, bare_step.steps_per_epoch))
        for _ in range(rounds)
    ]
    (bare, bare_cpu), (loop, loop_cpu) = (
        tuple(zip(*times, strict=True)) for times in zip(*rounds_of, strict=True)
    )
    seconds, of_loop = statistics.median(bare), statistics.median(loop)
    of_cpu = statistics.median(loop_cpu) - statistics.median(bare_cpu)
    flat = config.to_dict()
    return {
        'model': config.model.name,
        'num_steps': config.model.num_steps,
        'dtype': config.model.dtype or 'float32',
        'batch_size': config.batch_size,
        'log_every': config.log_every,
        'steps_per_call': flat.get('steps_per_call'),
        'on_device': flat['data'].get('on_device'),
        'workers': config.data.workers,
        'steps': steps,
        'card': describe_card(),
        'bare_seconds': bare,
        'loop_seconds': loop,
        'bare_cpu_seconds': bare_cpu,
        'loop_cpu_seconds': loop_cpu,
        'bare_images_per_second': config.batch_size / seconds,
        'loop_images_per_second': config.batch_size / of_loop,
        'ratio': seconds / of_loop,
        'overhead_us': (of_loop - seconds) * 1e6,
        # The fastest rounds are the least disturbed by other work on the machine.
        'least_overhead_us': (min(loop) - min(bare)) * 1e6,
        'overhead_cpu_us': of_cpu * 1e6,
    }


class BareStep:
    """The compiled training step of a configuration, with one batch on the device.

    Args:
      config: the configuration of the run.

    Attributes:
      steps_per_epoch: the number of training steps in an epoch.
    """

    def __init__(self, config: Any) -> None:
        import jax

        from snnjax.train.experiment import open_experiment
        from snnjax.train.sharding import put_batch

        phase = open_experiment(config.copy_and_resolve_references()).last
        self._step = phase.program.train_step
        self.steps_per_epoch = phase.batches.per_epoch
        self._batch = put_batch(phase.batches[0], phase.program.batch_sharding)
        self._state = phase.program.init()
        self._state, sums = self._step(self._state, self._batch)
        jax.block_until_ready(sums)

    def seconds(self, steps: int) -> tuple[float, float]:
        """Returns the seconds per step and the CPU seconds per step."""
        import jax

        start = now()
        for _ in range(steps):
            self._state, sums = self._step(self._state, self._batch)
        jax.block_until_ready((self._state, sums))
        return per_step(start, now(), steps)


Moment = tuple[float, float]


def now() -> Moment:
    """Returns the time and the CPU time of this process in seconds."""
    return time.perf_counter(), time.process_time()


def per_step(start: Moment, end: Moment, steps: int) -> tuple[float, float]:
    """Returns the seconds and the CPU seconds per step between two moments."""
    return (end[0] - start[0]) / steps, (end[1] - start[1]) / steps


class Clock:
    """A logger that records the time of each line of the training log, and stops the run.

    Args:
      steps: the step after which the run is stopped by SIGTERM, as a scheduler would do.
    """

    def __init__(self, steps: int) -> None:
        self.lines: list[tuple[int, Moment]] = []
        self._steps = steps

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Records the time of a line."""
        if _OF_TRAINING not in values:
            return
        self.lines.append((step, now()))
        if step >= self._steps:
            signal.raise_signal(signal.SIGTERM)

    def close(self) -> None:
        """Does nothing."""

    def seconds(self) -> tuple[float, float]:
        """Returns seconds and CPU seconds per step between the first line and the last.

        Raises:
          RuntimeError: if there are fewer than two lines.
        """
        if len(self.lines) < 2:
            raise RuntimeError(f'the training log has {len(self.lines)} lines, expected at least 2')
        (first, start), (last, end) = self.lines[0], self.lines[-1]
        return per_step(start, end, last - first)


def seconds_in_loop(config: Any, steps: int, steps_per_epoch: int) -> tuple[float, float]:
    """Returns the seconds and the CPU seconds per step of the training loop.

    They include no evaluations and checkpoints.
    """
    from snnjax.train.loggers import LOGGERS
    from snnjax.train.loop import train

    clock = Clock(steps)
    LOGGERS[_CLOCK] = lambda workdir, config: clock
    config = config.copy_and_resolve_references()
    config.loggers = _CLOCK
    # One epoch more than needed, so that there is no evaluation before the end.
    config.epochs = math.ceil(steps / steps_per_epoch) + 1
    config.eval_every_epochs = config.epochs
    config.checkpoint.every_steps = 0
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / 'run', verbose=False)
    return clock.seconds()


def describe(record: Mapping[str, Any]) -> str:
    """Returns the result in a few lines."""
    batch = record['batch_size']
    return '\n'.join(
        [
            f'{record["model"]}, T={record["num_steps"]}, {record["dtype"]}, batch {batch}, '
            f'{record["card"]["device"]}: medians of {len(record["bare_seconds"])} x '
            f'{record["steps"]} steps',
            f'bare step  {batch / record["bare_images_per_second"] * 1e6:10.0f} us  '
            f'{record["bare_images_per_second"]:10.0f} images/s',
            f'loop       {batch / record["loop_images_per_second"] * 1e6:10.0f} us  '
            f'{record["loop_images_per_second"]:10.0f} images/s  {record["ratio"]:.1%} of the step',
            f'overhead   {record["overhead_us"]:10.0f} us a step, '
            f'{record["least_overhead_us"]:.0f} us between the fastest rounds, '
            f'{record["overhead_cpu_us"]:.0f} us of CPU time',
        ]
    )


if __name__ == '__main__':
    import jax

    from snnjax.models.compilation import compilation_cache

    # The compilation cache serves the loop of each round, as in `snnjax.main`.
    jax.config.update('jax_compilation_cache_dir', str(compilation_cache()))
    sys.exit(main())
