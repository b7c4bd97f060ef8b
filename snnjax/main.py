"""Trains a model.

  python -m snnjax.main --config=configs/digits.py --workdir=runs/digits

Any value of the configuration can be changed, as in --config.batch_size=64. The same command again
continues the run in the work directory. Before the first start, --print_config shows the whole
configuration, and --dry_run what would be trained: steps, shapes, parameters, memory.

Several processes, one for each host, train together: on a Cloud TPU, GKE, Slurm or Open MPI, which
tell them where they are, with --distributed; anywhere else with --coordinator=HOST:PORT of process
0, --num_processes and --process_id.

Exit status: 0 when training is finished; 75 when it was stopped by SIGTERM or Ctrl-C and saved, or
when one of its processes was lost (134 when it is JAX that notices): the same command continues; 2
when the command cannot be run as it was given; 1 when training had to end, for numbers that are not
finite, a checkpoint that cannot be written, or a fault of the program.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import jax
from absl import flags, logging

from snnjax.analysis.figures import save_learning_curves
from snnjax.analysis.runs import mean_test_accuracy
from snnjax.data import DatasetNotPreparedError, DecodeError, WorkerLostError
from snnjax.train import processes
from snnjax.train.checkpoints import CheckpointError, CheckpointWriteError
from snnjax.train.config import ConfigError
from snnjax.train.config_flag import EXIT_USAGE, define_config_flag, run
from snnjax.train.dry_run import describe_dry_run
from snnjax.train.files import WorkdirError, compilation_cache
from snnjax.train.finite import NonFiniteError
from snnjax.train.loop import train
from snnjax.train.processes import ProcessesError
from snnjax.train.writers import read_metrics

EXIT_FAILED = 1
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again.

# What goes wrong for a reason that the user can mend.
_MISTAKES = (
    CheckpointError,
    ConfigError,
    DatasetNotPreparedError,
    DecodeError,
    ProcessesError,
    WorkdirError,
)
_AFTER_NON_FINITE = (
    'to go on from the last checkpoint without the images of this step, add '
    '--config.on_non_finite=skip, or =rollback; a new run may need a lower '
    'optimizer.learning_rate, or optimizer.clip_norm'
)

_CONFIG = define_config_flag()
_WORKDIR = flags.DEFINE_string('workdir', '', 'Directory that the run is kept in.')
_PRINT_CONFIG = flags.DEFINE_bool('print_config', False, 'Print the configuration, and end.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Say what would be trained, and end.')
_DISTRIBUTED = flags.DEFINE_bool('distributed', False, 'Join the processes of a pod or cluster.')
_COORDINATOR = flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0, to join it.')
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', 1, 'Processes that train together.')
_PROCESS_ID = flags.DEFINE_integer('process_id', 0, 'Which of them this is, from 0.')


def main(argv: list[str]) -> None:
    """Runs the training that the flags describe."""
    del argv
    logging.set_verbosity(logging.ERROR)  # Orbax and Grain tell much that is of no use here.
    _keep_compiled_programs()
    workdir = Path(_WORKDIR.value).expanduser()
    try:
        if _PRINT_CONFIG.value:
            print(_CONFIG.value.to_json(indent=2))
            return
        if not _WORKDIR.value and not _DRY_RUN.value:
            raise ConfigError(f'--workdir is missing; usage: {_USAGE}')
        if '://' in _WORKDIR.value:
            raise ConfigError(f'--workdir={_WORKDIR.value} must be a folder; mount a bucket as one')
        processes.join(
            _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, _DISTRIBUTED.value
        )
        if _DRY_RUN.value:
            print(describe_dry_run(_CONFIG.value, workdir if _WORKDIR.value else None))
            return
        finished = train(_CONFIG.value, workdir)
    except NonFiniteError as error:
        print(f'error: {error}; the step is in no checkpoint', file=sys.stderr)
        print(_AFTER_NON_FINITE, file=sys.stderr)
        processes.leave(EXIT_FAILED)
    except WorkerLostError as error:
        print(f'error: {error}', file=sys.stderr)
        print('the same command goes on from the last checkpoint', file=sys.stderr)
        processes.leave(EXIT_INTERRUPTED)
    except CheckpointWriteError as error:
        print(f'error: {error}', file=sys.stderr)
        processes.leave(EXIT_FAILED)
    except _MISTAKES as error:
        print(f'error: {error}', file=sys.stderr)
        processes.leave(EXIT_USAGE)
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        # Whatever it is, the others must not wait for this process.
        if not processes.is_loss(error):
            traceback.print_exc()
            processes.leave(1)
        print(f'error: another process of the run is gone: {error}', file=sys.stderr)
        print('start all of them again to go on from the last checkpoint', file=sys.stderr)
        processes.leave(EXIT_INTERRUPTED)
    if processes.is_first():
        if finished:
            _conclude(workdir)
        else:
            print('stopped and saved; the same command continues')
    if not finished:
        sys.exit(EXIT_INTERRUPTED)


def _conclude(workdir: Path) -> None:
    """Draws the learning curves, and prints what came out."""
    records = read_metrics(workdir)
    try:
        save_learning_curves(records, workdir / 'curves.png')
        print(f'learning curves: {workdir / "curves.png"}')
    except ImportError:
        print("no learning curves: they need matplotlib, pip install 'snnjax[plots]'")
    mean, evaluations = mean_test_accuracy(records)
    print(f'mean test accuracy of the last {evaluations} evaluations: {mean:.4f}')
    print(f'test accuracy: {records[-1]["eval/accuracy"]:.3f}')


def _keep_compiled_programs() -> None:
    """Lets a program that was compiled once start at once the next time."""
    jax.config.update('jax_compilation_cache_dir', str(compilation_cache()))


_USAGE = 'python -m snnjax.main --config=configs/NAME.py --workdir=DIR'


if __name__ == '__main__':
    run(main, required=('config',), usage=_USAGE)
