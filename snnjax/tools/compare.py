r"""Compares the networks of a sweep: accuracy, firing rate, energy, and the cost of training.

  python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu --workdir=runs/compare
  python -m snnjax.tools.compare --workdir=runs/compare --csv=compare.csv --figure=compare.png

The table has one row per network: parameters, accuracy and firing rate on the test images, synaptic
operations per image by the paper's convention, energy per image by layer (see
`snnjax.tools.energy`), the time of a training step, and the memory that XLA allocates for the step
besides parameters, images and results. If a network has no blocks, its synaptic operations are
those of all layers with spikes as input. Training steps have the batch size of training; they are
timed on this machine, the networks taking turns, and the table shows the median. Runs that differ
only in their seed are one network.

With converted networks, the table has the columns of table 3, with spikes and energy in place of
the cost of training:

  python -m snnjax.tools.compare --workdir=runs/compare --converted converted/a converted/b
  python -m snnjax.tools.compare --config=configs/compare.py:setting=table3_cpu \
      --workdir=runs/table3

With --config, missing runs and conversions are made first, so that one command makes the table. The
config file needs the functions get_runs (see `snnjax.tools.sweep`) and get_conversions. Each
conversion adds a folder NAME and a table NAME.csv to the work directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from snnjax.errors import ConfigError
from snnjax.paths import expand
from snnjax.spelling import count
from snnjax.tools.command_line import (
    add_argument,
    add_json_argument,
    new_parser,
    parse_and_run,
)
from snnjax.tools.paths import figure_file, output_file
from snnjax.tools.sweep import TABLE
from snnjax.tools.terminal import terminal_width
from snnjax.tools.weights_arguments import (
    add_checkpoint_argument,
    add_data_arguments,
    data_changes,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    add_argument(
        parser,
        '--workdir',
        'workdir',
        type=expand,
        required=True,
        metavar='DIR',
        help='work directory of a sweep',
    )
    parser.add_argument(
        '--config',
        metavar='FILE[:ARGUMENTS]',
        help='config file of runs and conversions to make first',
    )
    parser.add_argument(
        '--converted',
        nargs='+',
        type=expand,
        default=[],
        metavar='DIR',
        help='folders of converted networks',
    )
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--images', type=int, default=0, help='number of test images; default 0 for all'
    )
    parser.add_argument(
        '--rounds', type=int, default=15, help='timed training steps per network; default 15'
    )
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    add_data_arguments(parser)
    return parse_and_run(_compare, parser, argv)


def _compare(args: argparse.Namespace) -> None:
    if args.config or args.converted:
        _compare_costs(args)
    else:
        _compare_training(args)


def _compare_costs(args: argparse.Namespace) -> None:
    """Prints the table of trained and converted networks."""
    from snnjax.analysis.comparison import measure_run
    from snnjax.analysis.converted_networks import (
        costs_table,
        measure_converted,
        read_conversion,
    )
    from snnjax.analysis.runs import read_runs, write_table
    from snnjax.analysis.trained import open_trained

    if args.figure:
        raise ConfigError('--figure does not work with --config or --converted: leave it out')
    for folder in args.converted:
        read_conversion(folder)
    of_config = _make(args) if args.config else []
    data = data_changes(args)
    options = {'data': data, 'images': args.images}
    rows = []
    for run in read_runs(args.workdir / TABLE):
        workdir = args.workdir / run['run']
        trained = open_trained(str(workdir), checkpoint=args.checkpoint, **options)
        # The row of a converted network has the accuracy of its ANN: the ANN needs no own row.
        if trained.model.is_spiking:
            measured = measure_run(workdir, checkpoint=args.checkpoint, **options)
            rows.append({'run': run['run'], **measured})
    rows += of_config
    for folder in args.converted:
        rows.append({'run': folder.name, **measure_converted(folder, **options)})
    print(costs_table(rows, terminal_width()))
    if args.json:
        args.json.write(rows)
    if args.csv:
        write_table(args.csv, rows)


def _make(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Makes the runs and conversions of a config file; returns the rows of converted networks."""
    from snnjax.analysis.converted_networks import read_conversion
    from snnjax.analysis.runs import read_table
    from snnjax.tools import convert
    from snnjax.tools.sweep import get_runs, sweep
    from snnjax.train.config_file import call_config_file, split_config
    from snnjax.train.run_directory import lock
    from snnjax.weights.folder import describe_weights

    path, arguments = split_config(args.config)
    conversions = call_config_file(path, 'get_conversions', arguments)
    data = data_changes(args)
    where = [f'--config.data.dir={data["dir"]}'] if 'dir' in data else []
    with lock(args.workdir):
        status = sweep(path, get_runs(path, arguments), where, args.workdir)
    if status:
        raise SystemExit(status)
    rows = []
    for name, wanted in conversions.items():
        out, table = args.workdir / name, args.workdir / f'{name}.csv'
        if not table.is_file():
            of_method = [f'--set={key}={value}' for key, value in wanted['options'].items()]
            print(f'{name}: {wanted["run"]} by {wanted["method"]}', flush=True)
            convert.convert_network(
                [
                    f'--weights={args.workdir / wanted["run"]}',
                    f'--method={wanted["method"]}',
                    f'--num_steps={wanted["num_steps"]}',
                    f'--out={out}',
                    f'--csv={table}',
                    f'--images={args.images}',
                    f'--checkpoint={args.checkpoint}',
                    *(f'--data.{key}={value}' for key, value in data.items()),
                    *of_method,
                ]
            )
        *_, last = read_table(table)
        about = read_conversion(out)
        model, _ = describe_weights(str(out))
        rows.append({'run': name, 'model': model, 'parameters': about['parameters'], **last})
    return rows


def _compare_training(args: argparse.Namespace) -> None:
    import jax

    from snnjax.analysis.comparison import comparison_table, measure_run, measure_steps
    from snnjax.analysis.figures import save_comparison
    from snnjax.analysis.runs import by_network, read_runs, write_table
    from snnjax.analysis.trained import open_trained

    workdir = args.workdir
    if args.rounds < 1:
        raise ConfigError(f'--rounds={args.rounds} must be at least 1')
    runs = read_runs(workdir / TABLE)
    if not runs:
        raise ConfigError(
            f'{workdir / TABLE} has no finished run: give the work directory of a sweep'
        )
    networks = by_network(runs)
    # All seeds of a network have the same training step: one is timed.
    firsts = {name: workdir / rows[0]['run'] for name, rows in networks.items()}
    data = data_changes(args)
    options = {'data': data, 'images': args.images, 'checkpoint': args.checkpoint}
    for run in runs:
        # Opening all runs first reports an error before the slow measurements.
        open_trained(str(workdir / run['run']), **options)
    costs = measure_steps(firsts, args.rounds, data)
    rows = [
        {'run': row['run'], **measure_run(workdir / row['run'], **options), **costs[name]}
        for name, seeds in networks.items()
        for row in seeds
    ]
    print(comparison_table(rows, terminal_width()))
    device = jax.devices()[0]
    print(f'training steps on {count(jax.device_count(), f"{device.device_kind} device")}')
    for row in rows:
        print(f'{row["run"]}: checkpoint of step {row["step"]}')
    if args.json:
        args.json.write(rows)
    if args.csv:
        write_table(args.csv, rows)
    if args.figure:
        save_comparison(rows, args.figure)


if __name__ == '__main__':
    sys.exit(main())
