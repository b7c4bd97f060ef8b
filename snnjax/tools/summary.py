"""Lists the layers of a model: kind, input, output shape, parameters, operations.

  python -m snnjax.tools.summary --model=ms_resnet20
  python -m snnjax.tools.summary --model=ms_resnet34 --size=288 --num_steps=6
  python -m snnjax.tools.summary --model=ms_resnet20 --set widths=8,16,32 --json=layers.json

Operations are multiply-accumulates for one image and one time step. If the input is spikes, each
operation is an addition instead, needed only if there is a spike.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from snnjax.errors import ConfigError
from snnjax.spelling import count
from snnjax.tools.command_line import add_json_argument, new_parser, parse_and_run
from snnjax.tools.model_arguments import add_set_argument, model_options
from snnjax.tools.terminal import terminal_width

if TYPE_CHECKING:
    from snnjax.models.summary import LayerSummary


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('--model', required=True, help='name of the model, for create_model')
    parser.add_argument(
        '--size', type=int, help='height and width of the images; default: those of the data'
    )
    parser.add_argument(
        '--num_steps', type=int, help='number of time steps; default 6, or 1 for an ANN'
    )
    add_set_argument(parser)
    add_json_argument(parser)
    return parse_and_run(_summary, parser, argv)


def _summary(args: argparse.Namespace) -> None:
    from snnjax.models import create_model
    from snnjax.models.summary import spiking_macs, summarize

    for name in ('size', 'num_steps'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f'--{name}={value} must be at least 1')
    try:
        options = model_options(args.model, args.set)
        if args.num_steps is not None:
            options['num_steps'] = args.num_steps
        model = create_model(args.model, **options)
        size = args.size or model.default_image_size
        layers = summarize(model, (size, size, model.in_channels))
    except (OverflowError, TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if args.json:
        args.json.write([dataclasses.asdict(layer) for layer in layers])
    print(table(layers, terminal_width()))
    print()
    parameters = sum(layer.parameters for layer in layers)
    print(f'{args.model}, images {size}x{size}x{model.in_channels}, ', end='')
    print(count(max(layer.runs for layer in layers), 'time step'))
    print(f'parameters {parameters:,}')
    print(f'operations per time step {sum(layer.macs for layer in layers):,}')
    print(f"  by the paper's convention (tables 5 and 10) {spiking_macs(layers):,}")
    for kind, label in (('spikes', 'spikes'), ('real', 'real values')):
        macs = sum(layer.macs for layer in layers if layer.input == kind)
        print(f'  with {label} as input {macs:,}')


def table(layers: Iterable[LayerSummary], width: int | None = None) -> str:
    """Returns the layers as a text table.

    Args:
      layers: the layers of the network; `snnjax.models.summary.summarize` returns them.
      width: the largest width in characters, as `snnjax.analysis.tables.text_table` takes it.
    """
    from snnjax.analysis.tables import text_table

    header = ('layer', 'kind', 'input', 'output', 'runs', 'parameters', 'operations')
    rows = [
        (
            layer.name,
            layer.kind,
            layer.input,
            'x'.join(map(str, layer.shape)),
            str(layer.runs),
            f'{layer.parameters:,}' if layer.parameters else '',
            f'{layer.macs:,}' if layer.macs else '',
        )
        for layer in layers
    ]
    return text_table(header, rows, left=3, width=width)


if __name__ == '__main__':
    sys.exit(main())
