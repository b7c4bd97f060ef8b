"""Trains all networks of a sweep, one after the other, and tells what came of each in a table.

  python -m snnjax.tools.sweep --config=configs/depth_analysis.py --workdir=runs/depth_analysis

The config file has, beside `get_config`, a function `get_runs(arguments)`, which gives the
arguments of `get_config` for each run by its name. Values of the configuration can be changed for
all of them, as in --config.epochs=5. The work directory gets

  RUN/          the work directory of each run, see `snnjax.main`
  results.csv   a line for each run that is finished
  depth.png     accuracy by depth, where all networks have one
  curves.png    accuracy in training by epoch, likewise

The same command again goes on where it was stopped. A run with a line in results.csv is not trained
again, even where its work directory is gone.

Exit status: 0 when all runs are finished; 75 when it was stopped by SIGTERM, SIGHUP or Ctrl-C, and
the same command goes on; 2 when a run, or the sweep, cannot be run as it was given.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from snnjax.errors import EXIT_INTERRUPTED, ConfigError, run_command
from snnjax.paths import expand
from snnjax.tools.config_arguments import ConfigParser
from snnjax.train.config_file import call_config_file, split_config
from snnjax.train.signals import end_on_signals, handle_signals

TABLE = 'results.csv'
_USAGE = 'python -m snnjax.tools.sweep --config=configs/NAME.py --workdir=DIR'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = ConfigParser(__doc__, _USAGE)
    parser.add_argument('--workdir', metavar='DIR', required=True, help='directory of the sweep')

    def command() -> int:
        args, changes = parser.parse(argv)
        path, arguments = split_config(args.config)
        runs = get_runs(path, arguments)
        # What takes long to import follows when the arguments are known to be right.
        from snnjax.train.run_directory import lock

        workdir = expand(args.workdir)
        with lock(workdir):
            return sweep(path, runs, changes, workdir)

    return run_command(command)


def get_runs(path: Path, arguments: str) -> dict[str, str]:
    """The arguments of each run of a sweep by its name.

    Raises:
      ConfigError: for a file that is not there or describes no sweep.
    """
    return dict(call_config_file(path, 'get_runs', arguments))


def sweep(path: Path, runs: dict[str, str], changes: Sequence[str], workdir: Path) -> int:
    """Trains what is not finished; returns the exit status, see the module.

    Args:
      path: of the config file.
      runs: arguments of its ``get_config`` by the name of the run.
      changes: of the configuration, ``--config.KEY=VALUE``.
      workdir: of the sweep.

    Raises:
      ConfigError: where the table has a run of the same name with other arguments.
    """
    from snnjax.analysis.runs import depth_table, read_runs, summarise_run, write_table

    rows = {row['run']: row for row in read_runs(workdir / TABLE)}
    described = {name: ' '.join([text, *changes]) for name, text in runs.items()}
    for name, arguments in described.items():
        before = rows[name].get('arguments') if name in rows else arguments
        if before != arguments:
            raise ConfigError(
                f'{workdir / TABLE} has {name} with other arguments, {before!r} '
                f'instead of {arguments!r}: give another --workdir'
            )
    for number, (name, arguments) in enumerate(runs.items(), start=1):
        if name in rows:
            continue
        print(f'run {number} of {len(runs)}: {name}', flush=True)
        # A process of its own: what one compiles and allocates is gone when the next begins.
        command = [sys.executable, '-m', 'snnjax.main', f'--config={path}:{arguments}']
        status = _run([*command, f'--workdir={workdir / name}', *changes])
        if status:
            return status
        rows[name] = {'run': name, 'arguments': described[name], **summarise_run(workdir / name)}
        write_table(workdir / TABLE, list(rows.values()))
    done = [rows[name] for name in runs]
    if all(row['depth'] for row in done):
        print(depth_table(done))
        _draw(done, workdir)
    else:
        for row in done:
            print(f'{row["run"]}: test accuracy {100 * row["accuracy"]:.1f} %')
    return 0


def _run(command: Sequence[str]) -> int:
    """Runs a training to its end, or to where it stops in good order; returns its exit status."""
    started: list[subprocess.Popen] = []
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        for process in started:
            process.terminate()

    # Before it is started: a signal between the two would leave it behind.
    with handle_signals(stop), subprocess.Popen(command) as process:
        started.append(process)
        if stopped:
            process.terminate()
        status = process.wait()
    # It may not have come so far as to have a handler of its own.
    return EXIT_INTERRUPTED if stopped and status < 0 else status


def _draw(rows: Sequence[Mapping[str, Any]], workdir: Path) -> None:
    from snnjax.analysis.figures import save_accuracy_by_depth, save_curves_by_depth
    from snnjax.train.metric_writer import read_metrics

    metrics = {row['run']: read_metrics(workdir / row['run']) for row in rows}
    try:
        save_accuracy_by_depth(rows, workdir / 'depth.png')
        save_curves_by_depth(rows, metrics, workdir / 'curves.png')
    except ImportError:
        print("no figures: they need matplotlib, pip install 'snnjax[plots]'")


def run_process() -> NoReturn:
    """Runs the command as all that this process does, which hears signals from here to its end."""
    end_on_signals()
    sys.exit(main())


if __name__ == '__main__':
    run_process()
