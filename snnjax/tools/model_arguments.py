"""Arguments of commands that build a model by its name."""

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
      parser: parser of the command.
      *others: names that the argument had in earlier versions.
    """
    add_argument(
        parser,
        '--set',
        *others,
        action='append',
        metavar='KEY=VALUE',
        help='an option of the model, as stem=conv7 or widths=8,16,32; may be given again',
    )


def model_options(name: str, given: Iterable[str] | None) -> dict[str, Any]:
    """Returns the options of a model that a command line says, each of the type of its default.

    A value that is of no such type is returned as text, which `snnjax.create_model` refuses.

    Args:
      name: name of the model.
      given: ``KEY=VALUE`` of each option; the last one of a key counts.

    Raises:
      ConfigError: for what is not ``KEY=VALUE``.
      ValueError: for a name of no model.
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
    """Returns options by name, each a Python value if its text is one.

    Args:
      given: ``KEY=VALUE`` of each option; the last one of a key counts.

    Raises:
      ConfigError: for what is not ``KEY=VALUE``.
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
            # A word may look like something else.
            return value if isinstance(value, str) else text
        case tuple() if isinstance(value, int) and not isinstance(value, bool):
            return (value,)
    return value


def _literal(text: str) -> Any:
    """Returns the Python value that a text stands for, or the text."""
    words = {'true': True, 'false': False, 'none': None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    # Beside what is wrong, what is too deep or too large.
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text
