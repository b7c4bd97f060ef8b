"""Command lines with a configuration: a config file, and changes of its keys.

Slow modules are imported after the arguments are parsed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from absl import flags

from snnjax.errors import ConfigError, run_command
from snnjax.tools.command_line import as_called, prints_aside
from snnjax.train.config_file import CHANGE, read_config

if TYPE_CHECKING:
    import ml_collections


class ConfigParser(argparse.ArgumentParser):
    """A parser of command lines with ``--config=FILE`` and ``--config.KEY=VALUE``.

    Args:
      description: the docstring of the command.
      usage: an example of the command.
    """

    def __init__(self, description: str | None, usage: str) -> None:
        super().__init__(
            prog=as_called(usage).partition(' --')[0],
            description=as_called(description or ''),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.usage_example = as_called(usage)
        self.add_argument('--config', metavar='FILE[:ARGUMENTS]', help='config file')
        # The keys depend on the file; this entry is for the help only.
        self.add_argument('--config.KEY', metavar='VALUE', help='value of a configuration key')

    def parse(self, argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
        """Parses a command line.

        Args:
          argv: the arguments without the name of the command; None for those of this process.

        Returns:
          The parsed arguments, and the changes of the configuration: ``--config.KEY=VALUE``, or
          ``--config.KEY`` and ``--noconfig.KEY`` for a value of true or false.

        Raises:
          ConfigError: if an argument is missing or wrong.
        """
        given = list(sys.argv[1:] if argv is None else argv)
        try:
            given = flags.FlagValues().read_flags_from_files(given)
        except (flags.Error, OSError, ValueError) as error:
            self.error(f'--flagfile: {error}')
        # As in absl, one dash works like two.
        given = [re.sub(r'^-(?=(no)?config\b)', '--', argument) for argument in given]
        arguments, others = self.parse_known_args(given)
        if not arguments.config:
            self.error('--config is missing')
        changes: list[str] = []
        for argument in others:
            last = CHANGE.fullmatch(changes[-1]) if changes else None
            if CHANGE.fullmatch(argument):
                changes.append(argument)
            elif last and last['value'] is None and not last['no']:
                changes[-1] += f'={argument}'
            else:
                kind = 'unknown' if argument.startswith('-') else 'unexpected'
                self.error(f'{kind} argument {argument!r}')
        return arguments, changes

    def error(self, message: str) -> NoReturn:
        """Raises a ConfigError, so that the command ends with a one-line message."""
        raise ConfigError(f'{message}; usage: {self.usage_example}')


def run_with_config(
    parser: ConfigParser,
    argv: Sequence[str] | None,
    command: Callable[[argparse.Namespace, ml_collections.ConfigDict], int | None],
) -> int:
    """Runs a command with its arguments and its configuration, and returns its exit status.

    Args:
      parser: the parser of the command.
      argv: the arguments, as `ConfigParser.parse` takes them.
      command: the function to call with the parsed arguments and the configuration; it returns the
        exit status, or None for 0.
    """

    def parse_and_run() -> int | None:
        arguments, changes = parser.parse(argv)
        with prints_aside(arguments):
            return command(arguments, read_config(arguments.config, changes))

    return run_command(parse_and_run)
