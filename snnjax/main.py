"""Trains a model.

  python -m snnjax.main --config=configs/digits.py --workdir=runs/digits

Set any value of the configuration with an option, as in --config.batch_size=64; None leaves an
option of the model at the model's default. Arguments of the config file follow a colon, as in
--config=configs/cifar10.py:depth=32. To resume a run, run the same command again.

Before the first start, --print_config prints the whole configuration, and --dry_run prints the
steps, shapes, parameters and memory of the run without training.

Several processes, one for each host, train together. On a Cloud TPU, GKE, Slurm or Open MPI, which
describe the cluster to them, give --distributed; anywhere else, give --coordinator=HOST:PORT of
process 0, --num_processes and --process_id.

Exit status: 0 if training is finished; 75 if it was stopped by SIGTERM, SIGHUP or Ctrl-C, or lost
one of its processes (134 if JAX notices the loss): the same command resumes it; 2 if the command or
the configuration is wrong; 1 if training failed, because of numbers that are not finite, a
checkpoint that cannot be written, or an error of the program.
"""

# Slow imports are inside functions: signals are handled before them, and --help does not need them.
from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from snnjax.errors import EXIT_INTERRUPTED, ConfigError, run_command
from snnjax.train.signals import StoppedError, StopRequest, end_on_signals, ignore_signals

_USAGE = 'python -m snnjax.main --config=configs/NAME.py --workdir=DIR'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""

    def command() -> int:
        try:
            return _train(*_parse(argv))
        except KeyboardInterrupt:
            raise StoppedError from None

    return run_command(command)


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The arguments of a command line, and the changes of its configuration."""
    from snnjax.tools.config_arguments import ConfigParser

    parser = ConfigParser(__doc__, _USAGE)
    add = parser.add_argument
    add('--workdir', metavar='DIR', help='the work directory: a folder or gs://BUCKET/NAME')
    add('--print_config', action='store_true', help='print the configuration and exit')
    add('--dry_run', action='store_true', help='describe the training and exit')
    add('--profile', metavar='FIRST:LAST', help='trace these steps into DIR/profile')
    add('--distributed', action='store_true', help='join the processes of a pod or cluster')
    add('--coordinator', metavar='HOST:PORT', default='', help='the address of process 0')
    add('--num_processes', type=int, default=1, help='the number of processes (default: 1)')
    add('--process_id', type=int, default=0, help='the index of this process, from 0')
    return parser.parse(argv)


def _train(args: argparse.Namespace, changes: Sequence[str]) -> int:
    """Trains as the command line says; returns the exit status."""
    import jax
    from absl import logging

    from snnjax.models.compilation import compilation_cache
    from snnjax.tools.command_line import as_called
    from snnjax.train import processes
    from snnjax.train.config_file import read_config
    from snnjax.train.description import describe_dry_run
    from snnjax.train.loop import train
    from snnjax.train.profiling import Window

    logging.set_verbosity(logging.ERROR)  # Orbax and Grain log too much.
    # Compiled programs are cached, so that the next start is fast.
    jax.config.update('jax_compilation_cache_dir', str(compilation_cache()))
    config = read_config(args.config, changes)
    if args.print_config:
        print(config.to_json(indent=2))
        return 0
    workdir = _find_workdir(args.workdir) if args.workdir else None
    if not workdir and not args.dry_run:
        raise ConfigError(f'--workdir is missing; usage: {as_called(_USAGE)}')
    processes.join(args.coordinator, args.num_processes, args.process_id, args.distributed)
    with processes.leave_on_error():
        if args.dry_run or not workdir:
            print(describe_dry_run(config, workdir))
            return 0
        profile = Window.parse(args.profile) if args.profile else None
        finished = train(config, workdir, profile=profile).finished
        # Everything is saved, so signals are ignored.
        with StopRequest(), contextlib.suppress(KeyboardInterrupt):
            if processes.is_first():
                if finished:
                    _conclude(workdir)
                else:
                    print('stopped and saved; the same command resumes the run')
        return 0 if finished else EXIT_INTERRUPTED


# An upper bound on the length of names below a work directory, in bytes.
_LONGEST_BELOW = 300


def _find_workdir(given: str) -> Path:
    from snnjax.paths import expand, in_bucket

    workdir = expand(given)
    if in_bucket(workdir):
        return workdir
    most = os.pathconf('/', 'PC_PATH_MAX') - _LONGEST_BELOW
    if len(os.fsencode(workdir.absolute())) > most:
        raise ConfigError(f'--workdir={given} is too long: a path has at most {most} bytes')
    return workdir


def _conclude(workdir: Path) -> None:
    """Draws the learning curves, and prints the accuracy."""
    from snnjax.analysis.figures import save_learning_curves
    from snnjax.analysis.runs import mean_test_accuracy
    from snnjax.tools.command_line import as_called
    from snnjax.train.metric_writer import METRICS_FILE, read_metrics

    records = read_metrics(workdir)
    evaluations = [record for record in records if 'eval/accuracy' in record]
    if not evaluations:
        evaluate = as_called('python -m snnjax.tools.evaluate')
        print(
            f'training is finished; {workdir / METRICS_FILE} has no evaluation: '
            f'{evaluate} --weights={workdir} measures the accuracy'
        )
        return
    try:
        save_learning_curves(records, workdir / 'curves.png')
        print(f'learning curves: {workdir / "curves.png"}')
    except ImportError:
        print("no learning curves: they need matplotlib, pip install 'snnjax[plots]'")
    except OSError as error:
        print(f'no learning curves: {error}')
    mean, number = mean_test_accuracy(records)
    last = 'the last evaluation' if number == 1 else f'the last {number} evaluations'
    print(f'mean test accuracy of {last}: {mean:.4f}')
    print(f'test accuracy: {evaluations[-1]["eval/accuracy"]:.3f}')


def run_process() -> NoReturn:
    """Runs the command as the only task of this process, and handles signals until its end."""
    end_on_signals()
    from snnjax.train.progress import keep_printing

    keep_printing()
    status = main()
    ignore_signals()
    sys.exit(status)


if __name__ == '__main__':
    run_process()
