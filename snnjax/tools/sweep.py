"""Trains all networks of a sweep, one after the other, and writes a table of the results.

  python -m snnjax.tools.sweep --config=configs/depth_analysis.py --workdir=runs/depth_analysis

Besides `get_config`, the config file needs a function `get_runs(arguments)`. The function returns
the arguments of `get_config` for each run, by run name. --config.KEY=VALUE, for example
--config.epochs=5, changes the configuration of all runs. The work directory gets

  RUN/          the work directory of each run, see `snnjax.main`
  results.csv   a row for each finished run
  depth.png     accuracy over depth, if all networks have a depth
  curves.png    training accuracy over epochs, if all networks have a depth

To resume a stopped sweep, run the same command again. A run with a row in results.csv is not
trained again, even if its work directory is missing.

Exit status: 0 if all runs are finished; 75 if SIGTERM, SIGHUP or Ctrl-C stopped the sweep and the
same command resumes it; 2 if a run or the sweep has wrong arguments.
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
from snnjax.tools.terminal import terminal_width
from snnjax.train.config_file import call_config_file, split_config
from snnjax.train.signals import end_on_signals, handle_signals

TABLE = 'results.csv'
_USAGE = 'python -m snnjax.tools.sweep --config=configs/NAME.py --workdir=DIR'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = ConfigParser(__doc__, _USAGE)
    parser.add_argument(
        '--workdir', metavar='DIR', required=True, help='work directory of the sweep'
    )

    def command() -> int:
        args, changes = parser.parse(argv)
        path, arguments = split_config(args.config)
        runs = get_runs(path, arguments)
        # Slow modules are imported after the arguments are checked.
        from snnjax.train.run_directory import lock

        workdir = expand(args.workdir)
        with lock(workdir):
            return sweep(path, runs, changes, workdir)

    return run_command(command)


def get_runs(path: Path, arguments: str) -> dict[str, str]:
    """Returns the arguments of ``get_config`` for each run of a sweep, by run name.

    Args:
      path: the path of the config file.
      arguments: the arguments of its ``get_runs``, as text.

    Raises:
      ConfigError: if the file is missing or has no ``get_runs``.
    """
    return dict(call_config_file(path, 'get_runs', arguments))


def sweep(path: Path, runs: dict[str, str], changes: Sequence[str], workdir: Path) -> int:
    """Trains the unfinished runs and returns the exit status, which the module describes.

    Args:
      path: the path of the config file.
      runs: the arguments of its ``get_config`` by run name.
      changes: the changes of the configuration, as ``--config.KEY=VALUE``.
      workdir: the work directory of the sweep.

    Raises:
      ConfigError: if the table has a run of the same name with other arguments.
    """
    from snnjax.analysis.runs import depth_table, read_runs, summarize_run, write_table

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
        # Each run has its own process, so that its memory is free when the next run starts.
        command = [sys.executable, '-m', 'snnjax.main', f'--config={path}:{arguments}']
        status = _run([*command, f'--workdir={workdir / name}', *changes])
        if status:
            return status
        rows[name] = {'run': name, 'arguments': described[name], **summarize_run(workdir / name)}
        write_table(workdir / TABLE, list(rows.values()))
    done = [rows[name] for name in runs]
    if all(row['depth'] for row in done):
        print(depth_table(done, terminal_width()))
        _draw(done, workdir)
    else:
        for row in done:
            print(f'{row["run"]}: test accuracy {100 * row["accuracy"]:.1f} %')
    return 0


def _run(command: Sequence[str]) -> int:
    """Runs a training and returns its exit status; signals are passed on to stop it cleanly."""
    started: list[subprocess.Popen] = []
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        for process in started:
            process.terminate()

    # The handlers come first: a signal after Popen but before them would orphan the process.
    with handle_signals(stop), subprocess.Popen(command) as process:
        started.append(process)
        if stopped:
            process.terminate()
        status = process.wait()
    # A negative status means that the process had not installed its own handler yet.
    return EXIT_INTERRUPTED if stopped and status < 0 else status


def _draw(rows: Sequence[Mapping[str, Any]], workdir: Path) -> None:
    from snnjax.analysis.figures import save_accuracy_by_depth, save_curves_by_depth
    from snnjax.train.metric_writer import read_metrics

    metrics = {row['run']: read_metrics(workdir / row['run']) for row in rows}
    try:
        save_accuracy_by_depth(rows, workdir / 'depth.png')
        save_curves_by_depth(rows, metrics, workdir / 'curves.png')
    except ImportError:
        print("no figures: matplotlib is missing, pip install 'snnjax[plots]'")


def run_process() -> NoReturn:
    """Runs the command as the whole process, with signal handlers until its end."""
    end_on_signals()
    sys.exit(main())


if __name__ == '__main__':
    run_process()
