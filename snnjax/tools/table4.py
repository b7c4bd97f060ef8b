r"""Trains, converts and compares networks on event data sets: table 4 of the paper in one command.

  python -m snnjax.tools.table4 --config=configs/table4.py --workdir=runs/table4
  python -m snnjax.tools.table4 --config=configs/table4.py:data=nmnist --workdir=runs/table4 \
      --rows=dart.csv --csv=table4.csv --figure=table4.png --config.data.dir=~/snnjax_data

The config file is that of a sweep; see `snnjax.tools.sweep`. Runs on data sets that are not
prepared are left out and listed. Each rollout is also converted to a spiking network with the same
delays (Rueckauer et al. 2017; membrane potentials start at half the threshold and stay above 0), in
the folder RUN_converted of the work directory. Finished runs and conversions are not repeated.

The table has one row per network and data set: split, time steps, parameters, test accuracy of the
last checkpoint, and energy per recording by layer (see `snnjax.tools.energy`). --rows adds rows of
other systems from a table that `snnjax.tools.dart` wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.errors import ConfigError, run_command
from snnjax.paths import expand
from snnjax.tools.command_line import add_json_argument, prints_aside
from snnjax.tools.config_arguments import ConfigParser
from snnjax.tools.paths import figure_file, output_file
from snnjax.tools.sweep import get_runs, sweep
from snnjax.tools.terminal import terminal_width
from snnjax.train.config_file import read_config, split_config

_USAGE = 'python -m snnjax.tools.table4 --config=configs/table4.py --workdir=DIR'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = ConfigParser(__doc__, _USAGE)
    parser.add_argument(
        '--workdir', type=expand, metavar='DIR', required=True, help='work directory of the sweep'
    )
    parser.add_argument(
        '--rows',
        type=expand,
        action='append',
        default=[],
        metavar='FILE',
        help='table of other systems; may be repeated',
    )
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)

    def command() -> int:
        args, changes = parser.parse(argv)
        with prints_aside(args):
            return _table(args, changes)

    return run_command(command)


def _table(args: Any, changes: Sequence[str]) -> int:
    path, arguments = split_config(args.config)
    runs = get_runs(path, arguments)
    configs = {name: read_config(f'{path}:{text}', changes) for name, text in runs.items()}
    # Slow modules are imported after the arguments are checked.
    from snnjax.analysis.event_figures import save_event_table
    from snnjax.analysis.event_table import event_table, measure_row, read_rows
    from snnjax.analysis.runs import write_table
    from snnjax.train.run_directory import lock

    others = [row for file in args.rows for row in read_rows(file)]
    missing = _not_prepared(configs)
    for name, reason in missing.items():
        print(f'no rows for {name}: {reason}')
    runs = {name: text for name, text in runs.items() if configs[name].data.name not in missing}
    if not runs:
        raise ConfigError('no data set is prepared: prepare one with snnjax.tools.prepare')
    with lock(args.workdir):
        status = sweep(path, runs, changes, args.workdir)
    if status:
        return status
    rows = []
    for name, text in runs.items():
        config, workdir = configs[name], args.workdir / name
        data, model = config.data.to_dict(), config.model.name
        command = f'python -m snnjax.main --config={path}:{text}'
        rows.append(measure_row(workdir, model, data, command))
        if _is_analog_rollout(workdir):
            folder, made = _convert(workdir, data, num_steps=config.model.num_steps)
            rows.append(measure_row(folder, f'{model}, converted', data, made))
    named = {config.data.name for config in configs.values()} - set(missing)
    rows += [row for row in others if row['dataset'] in named]
    order = list(dict.fromkeys(row['dataset'] for row in rows))
    rows.sort(key=lambda row: order.index(row['dataset']))
    print(event_table(rows, terminal_width()))
    if args.json:
        args.json.write(rows)
    if args.csv:
        write_table(args.csv, rows)
    if args.figure:
        save_event_table(rows, args.figure)
    return 0


def _not_prepared(configs: Mapping[str, Any]) -> dict[str, str]:
    """Returns the reason why a data set cannot be opened, by the name of the data set."""
    from snnjax.data import DataOptions, DatasetNotPreparedError, open_dataset

    missing = {}
    for config in configs.values():
        try:
            options = DataOptions(**config.data.to_dict())
            open_dataset(options, config.model.num_steps).load('test')
        except DatasetNotPreparedError as error:
            missing[config.data.name] = str(error)
    return missing


def _is_analog_rollout(workdir: Path) -> bool:
    """Returns True if a run trained a rollout of neurons that do not spike."""
    from snnjax.models import create_model
    from snnjax.weights.folder import describe_weights

    name, options = describe_weights(str(workdir))
    model = create_model(name, **options)
    return model.rollout and not model.is_spiking


def _convert(workdir: Path, data: Mapping[str, Any], num_steps: int) -> tuple[Path, str]:
    """Converts a rollout unless the folder exists; returns the folder and the command."""
    from snnjax.data import DataOptions, open_dataset
    from snnjax.tools import convert

    images = len(open_dataset(DataOptions(**data), num_steps).load('train'))
    folder = workdir.with_name(f'{workdir.name}_converted')
    arguments = [f'--weights={workdir}', '--method=rueckauer', '--set', 'initial=0.5']
    # The lower bound is needed because the currents change from frame to frame; see the option.
    arguments += ['--set', 'lowest=0.0']
    arguments += [f'--calibration_images={min(images, 1000)}', f'--out={folder}']
    if not (folder / 'model.json').is_file():
        convert.convert_network([*arguments, f'--data_dir={data["dir"]}', '--images=0'])
    return folder, ' '.join(['python -m snnjax.tools.convert', *arguments])


if __name__ == '__main__':
    sys.exit(main())
