"""Compares networks that a sweep has trained: accuracy, spikes, energy, and the cost of training.

  python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu --workdir=runs/compare
  python -m snnjax.tools.compare --workdir=runs/compare --csv=compare.csv --figure=compare.png

A line for each network: parameters; accuracy and firing rate on the test images; synaptic
operations of an image by the paper's convention, which for networks without blocks are those of all
layers that see spikes; energy by layer (see `snnjax.tools.energy`); seconds of a training step of
the size of training, and the memory that XLA allocates for it beside parameters, images and
results. Steps of all networks are timed here and now, in turn, and their medians told. Runs whose
names differ in their seed only are one network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

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
from snnjax.tools.weights_arguments import (
    add_checkpoint_argument,
    add_data_arguments,
    data_changes,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
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
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--images', type=int, default=0, help='of the test split; default 0, for all'
    )
    parser.add_argument('--rounds', type=int, default=15, help='timed steps of each; default 15')
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    add_data_arguments(parser)
    return parse_and_run(_compare, parser, argv)


def _compare(args: argparse.Namespace) -> None:
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
        raise ConfigError(f'{workdir / TABLE} has no finished run: give the workdir of a sweep')
    networks = by_network(runs)
    # Seeds of one network take the same steps.
    firsts = {name: workdir / rows[0]['run'] for name, rows in networks.items()}
    data = data_changes(args)
    options = {'data': data, 'images': args.images, 'checkpoint': args.checkpoint}
    for run in runs:
        # What is wrong is found before the work.
        open_trained(str(workdir / run['run']), **options)
    costs = measure_steps(firsts, args.rounds, data)
    rows = [
        {'run': row['run'], **measure_run(workdir / row['run'], **options), **costs[name]}
        for name, seeds in networks.items()
        for row in seeds
    ]
    print(comparison_table(rows))
    device = jax.devices()[0]
    print(f'steps of training on {count(jax.device_count(), f"{device.device_kind} device")}')
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
