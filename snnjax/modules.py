"""User modules, which add neurons, blocks, optimizers and more to the tables of this package.

Configurations name modules, and so do the weights that were trained with them. Importing a module
runs its code, so somebody else's weights must not choose one. A module that weights name is
imported only if this user has trained with it on this machine, or has already imported it.
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
    """A module that cannot or must not be imported; the message names it and gives the reason."""


def load_modules(names: str) -> None:
    """Imports modules that a user names.

    Args:
      names: the module names, separated by commas; '' for none.

    Raises:
      ImportsError: if a module does not exist or fails.
    """
    for name in split_names(names):
        if not all(part.isidentifier() for part in name.split('.')):
            raise ImportsError(
                f'imports: {name!r} is not a module name: for a file my_neuron.py give my_neuron'
            )
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f'{name}.'.startswith(f'{error.name}.'):
                raise ImportsError(f'imports: {name} needs {error.name!r}: install it') from error
            raise ImportsError(
                f'imports: there is no module {name!r}: run the command in the folder that has it, '
                'add that folder to PYTHONPATH, or install it'
            ) from error
        # A module under development can raise any error.
        except Exception as error:
            raise ImportsError(f'imports: {name}: {type(error).__name__}: {error}') from error


def load_modules_of_weights(names: str, source: Path) -> None:
    """Imports modules that weights name, if this user has trained with them.

    Args:
      names: the module names, separated by commas; '' for none.
      source: the folder of the weights, for messages.

    Raises:
      ImportsError: if a module is unknown, does not exist or fails.
    """
    for name in split_names(names):
        if name not in sys.modules and not known.is_noted('modules', _identity(name)):
            raise ImportsError(
                f'{source} needs the module {name!r}, which you have not trained with on this '
                f'machine. It is only imported with a flag: if you trust it, give --imports={name}'
            )
    load_modules(names)


def note_modules(names: str) -> None:
    """Notes modules that this user trains with, so that weights can name them."""
    for name in split_names(names):
        known.note('modules', _identity(name))


def _identity(name: str) -> str:
    """Returns a module's name with the file of its package, without importing it.

    The file distinguishes modules of the same name in different places.
    """
    try:
        spec = importlib.util.find_spec(name.partition('.')[0])
    except (ImportError, ValueError):
        spec = None
    origin = spec.origin if spec else None
    return f'{name} {Path(origin).resolve()}' if origin else name
