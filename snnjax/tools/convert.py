r"""Converts a trained ANN to a spiking network and measures its accuracy over time steps.

  python -m snnjax.tools.convert --weights=runs/ann --method=rueckauer --out=converted/ann
  python -m snnjax.tools.convert --weights=runs/ann --method=s_resnet --num_steps=256 \
      --set percentile=99.9 --images=1000 --csv=curve.csv --figure=curve.png --out=converted/ann
  python -m snnjax.tools.convert --methods

The command writes a folder of weights to --out, which evaluate, energy, report and the other
commands take. Thresholds come from training images, which are preprocessed as in testing. Accuracy,
spikes and energy are measured on test images after 1, 2, 4, ... time steps up to --num_steps, or
after those of --steps, in one pass. A rollout, such as rollout_densenet, keeps its delays: a frame
is one time step of both networks, and --num_steps is the number of frames.

--methods lists the methods and their options.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnjax.errors import ConfigError, run_command
from snnjax.tools.command_line import add_json_argument, parse_and_run
from snnjax.tools.model_arguments import parse_settings
from snnjax.tools.paths import figure_file, output_file, output_path
from snnjax.tools.weights_arguments import data_changes, make_parser, open_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv == ['--methods']:
        return run_command(_list_methods)
    return parse_and_run(_convert, _new_parser(), argv)


def convert_network(argv: Sequence[str]) -> None:
    """Runs the command inside another one, which gets its exceptions.

    Args:
      argv: the arguments of the command.
    """
    _convert(_new_parser().parse_args(argv))


def _new_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, images=1000)
    parser.add_argument(
        '--method', required=True, metavar='NAME', help='conversion method; --methods lists them'
    )
    parser.add_argument(
        '--out', type=output_path, required=True, metavar='DIR', help='folder of weights to write'
    )
    parser.add_argument(
        '--set',
        action='append',
        metavar='KEY=VALUE',
        help='option of the method, for example percentile=99.9; may be repeated',
    )
    parser.add_argument(
        '--calibration_images',
        type=int,
        default=1000,
        help='number of training images for the thresholds, evenly spaced; default 1000',
    )
    parser.add_argument(
        '--steps',
        metavar='T,T',
        help='numbers of time steps to measure at; default: powers of 2 up to --num_steps',
    )
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='table to write')
    parser.add_argument('--figure', type=figure_file, metavar='FILE', help='figure to write')
    add_json_argument(parser)
    return parser


def _list_methods() -> None:
    from snnjax.conversion import METHODS

    for name, method in METHODS.items():
        summary = (method.function.__doc__ or '').partition('\n')[0]
        print(f'{name}: {summary}')
        for option, default in method.options.items():
            print(f'    --set {option}={default}')


def _convert(args: argparse.Namespace) -> None:
    from snnjax.analysis.conversion_curve import describe_silent, images_of, measure_curve
    from snnjax.conversion import Ann, convert
    from snnjax.conversion.methods import describe_thresholds
    from snnjax.models import create_model
    from snnjax.models.network import DEFAULT_NUM_STEPS
    from snnjax.train.state import count_parameters
    from snnjax.weights.folder import describe_weights

    num_steps, steps = _steps(args)
    if args.calibration_images < 1:
        raise ConfigError(f'--calibration_images={args.calibration_images} must be at least 1')
    if args.out.is_file() or (args.out.is_dir() and any(args.out.iterdir())):
        raise ConfigError(f'{args.out} already exists: remove it or name another folder')
    # An ANN has one time step; in a rollout, each frame is a time step of both networks.
    name, options = describe_weights(str(args.weights))
    model = create_model(name, **options)
    if model.rollout:
        args.num_steps = args.num_steps or model.num_steps or DEFAULT_NUM_STEPS
        num_steps, steps = _steps(args)
    trained = open_arguments(args, num_steps=num_steps if model.rollout else 1)
    print(trained.describe(), flush=True)
    import jax

    variables = jax.device_get(dict(trained.variables))
    ann = Ann(trained.model, variables, trained.image_shape)
    training = open_arguments(
        args, num_steps=trained.num_steps, split='train', images=args.calibration_images
    )
    options = parse_settings(args.set)
    converted = convert(ann, args.method, images_of(training), num_steps=num_steps, **options)
    print(describe_thresholds(ann.layers, converted.thresholds), flush=True)
    about = converted.about | {
        'weights': str(args.weights),
        'ann': trained.name,
        'parameters': count_parameters(converted.variables['params']),
        # The data of the calibration images makes the thresholds reproducible.
        'data': {key: getattr(training.data, key) for key in ('name', 'dir', 'split')},
    }
    accuracy = trained.evaluate()['eval/accuracy']
    print(f'ANN: accuracy {accuracy:.4f}', flush=True)
    _save(args, converted, about)
    if 'time_steps' in about:
        rows, rates = _measure_few_spikes(args, about, trained.data.dir), dict[str, float]()
    else:
        rows, rates = measure_curve(
            converted.model, converted.variables, images_of(trained), trained.image_shape, steps
        )
    for line in describe_silent(rates):
        print(f'warning: {line}')
    rows = [{'method': args.method, 'ann_accuracy': accuracy, **row} for row in rows]
    _report(args, rows)
    print(f'{args.out}: {trained.name}, {args.method}, T={rows[-1]["num_steps"]}')


def _steps(args: argparse.Namespace) -> tuple[int, list[int]]:
    """Returns the number of time steps, and the numbers to measure the accuracy at."""
    num_steps = 32 if args.num_steps is None else args.num_steps
    try:
        given = [int(text) for text in args.steps.split(',')] if args.steps else []
    except ValueError:
        raise ConfigError(f'--steps={args.steps} must be integers, as 8,16,32') from None
    for number in (num_steps, *given):
        if number < 1:
            raise ConfigError(f'{number} time steps: give --num_steps and --steps of at least 1')
    if args.num_steps is None and given:
        num_steps = max(given)
    powers = [2**i for i in range(num_steps.bit_length()) if 2**i <= num_steps]
    return num_steps, sorted({*(given or powers), num_steps})


def _save(args: argparse.Namespace, converted: Any, about: dict[str, Any]) -> None:
    """Writes a folder of weights with a description of the images and of the conversion."""
    import json

    from snnjax.analysis.inference import describe_inputs
    from snnjax.analysis.trained import data_as_trained
    from snnjax.data import DataOptions
    from snnjax.export.model_card import image_format, make_card
    from snnjax.paths import expand
    from snnjax.weights.folder import describe_weights, save_weights, write_description

    source, changes = str(args.weights), data_changes(args)
    name, of_ann = describe_weights(source)
    options = {**of_ann, **converted.options}
    data = data_as_trained(source, changes)
    images = image_format(data, converted.model.num_steps)
    inputs = describe_inputs(source, converted.model, changes).to_json()
    card = make_card(source, converted.variables['params'], images, inputs, args.checkpoint)
    card.setdefault('data', {'name': data['name'], 'split': data.get('split', DataOptions.split)})
    description = json.loads((expand(source) / 'model.json').read_text())
    kept = {key: description[key] for key in ('imports',) if key in description}
    save_weights(args.out, converted.variables, name, options)
    write_description(args.out, name, options, {**kept, **card, 'conversion': about})


def _measure_few_spikes(
    args: argparse.Namespace, about: dict[str, Any], data_dir: str
) -> list[dict[str, Any]]:
    """Returns the single row of a few-spike network, which is computed like an ANN.

    The data folder is ``data_dir``, because the folder of weights does not name it.
    """
    from snnjax.analysis.energy import measure_costs

    args.weights, args.checkpoint = args.out, 'newest'
    data = {**data_changes(args), 'dir': data_dir}
    row = measure_costs(open_arguments(args, num_steps=about['steps_per_layer'], data=data))
    per_neuron = row['firing_rate'] * about['steps_per_layer']
    return [row | {'num_steps': about['time_steps'], 'spikes_per_neuron': per_neuron}]


def _report(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    from snnjax.analysis.conversion_figures import save_conversion
    from snnjax.analysis.runs import write_table
    from snnjax.analysis.tables import text_table

    header = ('T', 'accuracy', 'firing rate', 'spikes per neuron', 'SyOPs (M)', 'energy (uJ)')
    lines = [
        (
            f'{row["num_steps"]:,}',
            f'{row["accuracy"]:.4f}',
            f'{row["firing_rate"]:.4f}',
            f'{row["spikes_per_neuron"]:.2f}',
            f'{row["syops"] / 1e6:,.2f}',
            f'{1e6 * row["joules_by_layer"]:,.2f}',
        )
        for row in rows
    ]
    print(text_table(header, lines, left=0), flush=True)
    if args.json:
        args.json.write(rows)
    if args.csv:
        write_table(Path(args.csv), rows)
    if args.figure:
        save_conversion({args.method: rows}, args.figure)


if __name__ == '__main__':
    sys.exit(main())
