"""Arguments of commands that look at trained weights."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from snnjax.analysis.trained import Trained, open_initial, open_trained
from snnjax.data import DataOptions
from snnjax.data.options import EVALUATION
from snnjax.errors import run_command
from snnjax.train.config import ConfigError


def make_parser(
    description: str | None, *, images: int = 0, several: bool = False, initial: bool = False
) -> argparse.ArgumentParser:
    """A parser with the arguments that `open_arguments` needs.

    Args:
      description: of the command.
      images: how many of the split to look at where nothing is said; 0 for all.
      several: whether the command compares weights,
      initial: or models with the parameters that their training begins with, too.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    one = 'a work directory or folder of weights'
    if several:
        parser.add_argument(
            '--weights',
            nargs='+',
            default=[],
            required=not initial,
            metavar='DIR',
            help=f'each {one}',
        )
    else:
        parser.add_argument('--weights', required=True, metavar='DIR', help=one)
    if initial:
        parser.add_argument(
            '--models', nargs='+', default=[], metavar='NAME', help='with initial parameters'
        )
        parser.add_argument('--seed', type=int, default=0, help='of initial parameters')
    parser.add_argument('--split', default='test', choices=['test', 'train'])
    parser.add_argument('--num_steps', type=int, help='time steps; default: those of training')
    parser.add_argument('--batch_size', type=int, help='default: 100 for each device')
    of_split = f'default {images}; 0 for all' if images else 'default: all'
    parser.add_argument(
        '--images', type=int, default=images, help=f'how many, at even distances; {of_split}'
    )
    add_data_arguments(parser)
    return parser


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `data_changes` reads."""
    data = parser.add_argument_group('data', 'default: as in training')
    for field in dataclasses.fields(DataOptions):
        if field.name in EVALUATION:
            flags = {'name': '--dataset', 'dir': '--data_dir'}
            flag = flags.get(field.name, f'--data.{field.name}')
            kind = type(field.default)
            data.add_argument(flag, type=kind, metavar='VALUE', dest=f'data.{field.name}')


def data_changes(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of `DataOptions` that the arguments say."""
    return {
        key.removeprefix('data.'): value
        for key, value in vars(args).items()
        if key.startswith('data.') and value is not None
    }


def open_arguments(args: argparse.Namespace, **changes: Any) -> Trained:
    """The model and the examples that the arguments say; see `open_trained`, also for changes."""
    return open_trained(args.weights, **_options(args) | changes)


def open_each(args: argparse.Namespace) -> Iterator[tuple[str, Trained]]:
    """Names of all weights and models of a command that compares, and what they are.

    Raises:
      ConfigError: where there is none.
    """
    models = vars(args).get('models', [])
    if not args.weights and not models:
        raise ConfigError('nothing to look at: give --weights or --models')
    for weights in args.weights:
        trained = open_trained(weights, **_options(args))
        model, folder = trained.config.model.name, Path(weights).name
        yield folder if model in folder else f'{model}, {folder}', trained
    for name in models:
        yield f'{name}, initial', open_initial(name, **_options(args), seed=args.seed)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = ('split', 'num_steps', 'batch_size', 'images')
    return {'data': data_changes(args), **{name: getattr(args, name) for name in names}}


def run(command: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Runs a command; returns its exit status, see `snnjax.errors.run_command`."""
    logging.set_verbosity(logging.ERROR)
    return run_command(lambda: command(args))
