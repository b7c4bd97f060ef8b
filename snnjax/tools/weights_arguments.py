"""Arguments of commands that open trained weights."""

from __future__ import annotations

import argparse
import collections
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from snnjax.data.options import EVALUATION, DataOptions
from snnjax.errors import ConfigError
from snnjax.tools.command_line import add_argument, new_parser
from snnjax.tools.model_arguments import add_set_argument, model_options
from snnjax.tools.paths import folder_name
from snnjax.weights.source import find_weights

if TYPE_CHECKING:
    from snnjax.analysis.trained import ModelOnData

_ONE = 'work directory, folder of weights, pretrained:NAME or hf://OWNER/NAME'


def make_parser(
    description: str | None, *, images: int = 0, several: bool = False, initial: bool = False
) -> argparse.ArgumentParser:
    """Returns a parser with the arguments that `open_arguments` or `open_each` needs.

    Args:
      description: the docstring of the command.
      images: the default number of images of the split; 0 for all.
      several: True for a command that compares several weights.
      initial: True for a command that also takes models with initial parameters.
    """
    parser = new_parser(description)
    if several:
        parser.add_argument(
            '--weights',
            nargs='+',
            type=find_weights,
            default=[],
            required=not initial,
            metavar='DIR',
            help=f'one or several, each a {_ONE}',
        )
    else:
        add_weights_argument(parser)
    if initial:
        parser.add_argument(
            '--models',
            nargs='+',
            default=[],
            metavar='NAME',
            help='names of models to take with initial parameters',
        )
        parser.add_argument(
            '--seed', type=int, default=0, help='seed of the initial parameters; default 0'
        )
        add_set_argument(parser)
    add_example_arguments(parser, images)
    return parser


def add_weights_argument(parser: argparse.ArgumentParser, *others: str) -> None:
    """Adds the required argument ``--weights DIR``.

    Args:
      parser: the parser of the command.
      *others: the other names of the argument, as `add_argument` takes them.
    """
    chosen: dict[str, Any] = {'type': find_weights, 'required': True, 'metavar': 'DIR'}
    add_argument(parser, '--weights', *others, help=_ONE, **chosen)


def add_example_arguments(parser: argparse.ArgumentParser, images: int = 0) -> None:
    """Adds the arguments that choose the checkpoint and the examples.

    Args:
      parser: the parser of the command.
      images: the default number of images of the split; 0 for all.
    """
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--split', default='test', choices=['test', 'train'], help='split; default test'
    )
    parser.add_argument(
        '--num_steps', type=int, help='number of time steps; default: that of training'
    )
    parser.add_argument(
        '--batch_size', type=int, help='batch size over all devices; default: 100 per device'
    )
    of_split = f'default {images}; 0 for all' if images else 'default: all'
    parser.add_argument(
        '--images',
        type=int,
        default=images,
        help=f'number of images, evenly spaced over the split; {of_split}',
    )
    add_data_arguments(parser)


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose the checkpoint of a run and the modules that it needs."""
    parser.add_argument(
        '--checkpoint',
        default='newest',
        metavar='best|STEP',
        help='checkpoint of a run: that of the best test accuracy or of a step; default: newest',
    )
    parser.add_argument(
        '--imports',
        default='',
        metavar='MODULES',
        help='modules that the weights need, separated by commas; modules of your own runs are '
        'imported without it',
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `data_changes` reads."""
    data = parser.add_argument_group(
        'data', 'Fields of snnjax.data.DataOptions; default: as in training.'
    )
    for field in dataclasses.fields(DataOptions):
        if field.name in EVALUATION:
            others = {'name': ['--dataset'], 'dir': ['--data_dir']}.get(field.name, [])
            kind = folder_name if field.name == 'dir' else type(field.default)
            add_argument(data, f'--data.{field.name}', *others, type=kind, metavar='VALUE')


def data_changes(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields of `DataOptions` that the arguments set."""
    return {
        key.removeprefix('data.'): value
        for key, value in vars(args).items()
        if key.startswith('data.') and value is not None
    }


def open_arguments(args: argparse.Namespace, **changes: Any) -> ModelOnData:
    """Opens the model and the examples that the arguments name; see `open_trained`.

    Args:
      args: the parsed arguments, with ``weights`` and those of `add_example_arguments`.
      **changes: the arguments of `open_trained` that replace those of ``args``.
    """
    from snnjax.analysis.trained import open_trained

    return open_trained(
        str(args.weights), **example_options(args) | {'checkpoint': args.checkpoint} | changes
    )


def open_each(args: argparse.Namespace) -> Iterator[tuple[str, ModelOnData]]:
    """Opens the weights and models of a comparing command one by one; yields names and models.

    Raises:
      ConfigError: if the arguments name no weights or models, or an option is unknown to a model.
    """
    from snnjax.analysis.trained import open_initial, open_trained

    models = vars(args).get('models', [])
    if not args.weights and not models:
        raise ConfigError('no network to measure: give --weights or --models')
    names: collections.Counter[str] = collections.Counter()
    for weights in args.weights:
        trained = open_trained(str(weights), **example_options(args), checkpoint=args.checkpoint)
        model, folder = trained.name, weights.absolute().name
        name = folder if model in folder else f'{model}, {folder}'
        names[name] += 1
        yield name if names[name] == 1 else f'{name} ({names[name]})', trained
    for name in models:
        try:
            options = model_options(name, args.set)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        choice = example_options(args) | {'seed': args.seed, 'options': options}
        yield f'{name}, initial', open_initial(name, **choice)


def example_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `open_trained` and `open_initial` that choose the examples.

    Raises:
      ConfigError: if the batch size is below 1.
    """
    if args.batch_size is not None and args.batch_size < 1:
        raise ConfigError(f'--batch_size={args.batch_size} must be at least 1')
    names = ('split', 'num_steps', 'batch_size', 'images')
    return {'data': data_changes(args), **{name: getattr(args, name) for name in names}}
