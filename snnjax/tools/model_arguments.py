"""Arguments of commands that create a model by its name."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable
from typing import Any

from snnjax.errors import ConfigError
from snnjax.tools.command_line import add_argument


def add_set_argument(parser: argparse.ArgumentParser, *others: str) -> None:
    """Adds ``--set KEY=VALUE``, which `model_options` reads.

    Args:
      parser: the parser of the command.
      *others: the names of the argument in earlier versions.
    """
    add_argument(
        parser,
        '--set',
        *others,
        action='append',
        metavar='KEY=VALUE',
        help='option of the model, for example stem=conv7 or widths=8,16,32; may be repeated',
    )


def model_options(name: str, given: Iterable[str] | None) -> dict[str, Any]:
    """Parses the options of a model, each to the type of its default.

    A value of another type is returned as text, which `snnjax.create_model` refuses.

    Args:
      name: the name of the model.
      given: the options as ``KEY=VALUE``; the last value of a key counts.

    Raises:
      ConfigError: if an option is not of the form ``KEY=VALUE``.
      ValueError: if there is no model of this name.
    """
    given = list(given or ())
    if not given:
        return {}
    from snnjax.models import create_model
    from snnjax.models.registry import option_fields

    defaults = {field.name: field.default for field in option_fields(type(create_model(name)))}
    options = {}
    for text in given:
        key, equals, value = text.partition('=')
        if not (key and equals):
            raise ConfigError(f'--set {text}: write KEY=VALUE, as --set num_steps=4')
        options[key] = _typed(value, defaults.get(key))
    return options


def parse_settings(given: Iterable[str] | None) -> dict[str, Any]:
    """Parses options to Python values; a value that is no Python literal stays text.

    Args:
      given: the options as ``KEY=VALUE``; the last value of a key counts.

    Raises:
      ConfigError: if an option is not of the form ``KEY=VALUE``.
    """
    settings = {}
    for text in given or ():
        key, equals, value = text.partition('=')
        if not (key and equals):
            raise ConfigError(f'--set {text}: write KEY=VALUE, as --set percentile=99.9')
        settings[key] = _literal(value)
    return settings


def _typed(text: str, default: Any) -> Any:
    value = _literal(text)
    match default:
        case str():
            # The value of a text option may look like a number.
            return value if isinstance(value, str) else text
        case tuple() if isinstance(value, int) and not isinstance(value, bool):
            return (value,)
    return value


def _literal(text: str) -> Any:
    """Returns the Python value of a literal, or the text itself if it is none."""
    words = {'true': True, 'false': False, 'none': None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    # MemoryError and RecursionError are raised for literals that are too large or too deep.
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text
