"""Modules of a user, which add neurons, blocks, optimizers and more to the tables of this package.

A configuration names them, and so do the weights that were trained with it. To import a module is
to run it, so the weights of somebody else must not choose one: a module that weights name is
imported only if this user has trained with it on this machine, or has imported it already.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from snnjax import known
from snnjax.errors import UserError
from snnjax.spelling import split_names


class ImportsError(UserError, ImportError):
    """A module that cannot be imported, or may not be; the message says which, and why."""


def load_modules(names: str) -> None:
    """Imports modules that a user names.

    Args:
      names: with commas between; '' for none.

    Raises:
      ImportsError: for one that is not there, or fails.
    """
    for name in split_names(names):
        if not all(part.isidentifier() for part in name.split('.')):
            raise ImportsError(
                f'imports: {name!r} is no name of a module: for a file my_neuron.py give my_neuron'
            )
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f'{name}.'.startswith(f'{error.name}.'):
                raise ImportsError(f'imports: {name} needs {error.name!r}: install it') from error
            raise ImportsError(
                f'imports: there is no module {name!r}: run the command in the folder that has it, '
                'name that folder in PYTHONPATH, or install it'
            ) from error
        # Whatever is wrong in a file that somebody is just writing.
        except Exception as error:
            raise ImportsError(f'imports: {name}: {type(error).__name__}: {error}') from error


def load_modules_of_weights(names: str, source: Path) -> None:
    """Imports modules that weights name, if this user has trained with them.

    Args:
      names: with commas between; '' for none.
      source: folder of the weights, for messages.

    Raises:
      ImportsError: for a module that is not known, not there, or fails.
    """
    for name in split_names(names):
        if name not in sys.modules and not known.is_noted('modules', _identity(name)):
            raise ImportsError(
                f'{source} needs the module {name!r}, which you have not trained with on this '
                f'machine. It is not imported unasked: if you trust it, give --imports={name}'
            )
    load_modules(names)


def note_modules(names: str) -> None:
    """Notes modules that this user trains with, so that weights may name them."""
    for name in split_names(names):
        known.note('modules', _identity(name))


def _identity(name: str) -> str:
    """Returns the name of a module with the file of its package; nothing is imported.

    A module of the same name elsewhere is another one.
    """
    try:
        spec = importlib.util.find_spec(name.partition('.')[0])
    except (ImportError, ValueError):
        spec = None
    origin = spec.origin if spec else None
    return f'{name} {Path(origin).resolve()}' if origin else name
