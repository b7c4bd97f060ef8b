"""The command line of commands that are given a configuration: a file, and changes of its keys.

What takes long to import is imported after the arguments were read, so that ``--help`` answers at
once.
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
    """Parser of a command line that has ``--config=FILE`` and ``--config.KEY=VALUE``.

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
        self.add_argument('--config', metavar='FILE[:ARGUMENTS]', help='file of the configuration')
        # Which keys there are is known with the file only; this is for the help.
        self.add_argument('--config.KEY', metavar='VALUE', help='another value of one of its keys')

    def parse(self, argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
        """Parses a command line.

        Args:
          argv: without the name of the command; None for the command line of this process.

        Returns:
          The arguments, and the changes of the configuration: ``--config.KEY=VALUE``, or
          ``--config.KEY`` and ``--noconfig.KEY`` of what is true or false.

        Raises:
          ConfigError: if the command cannot be run as it was given.
        """
        given = list(sys.argv[1:] if argv is None else argv)
        try:
            given = flags.FlagValues().read_flags_from_files(given)
        except (flags.Error, OSError, ValueError) as error:
            self.error(f'--flagfile: {error}')
        # One dash does, too.
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
        """Raises a ConfigError, which ends the command with one line."""
        raise ConfigError(f'{message}; usage: {self.usage_example}')


def run_with_config(
    parser: ConfigParser,
    argv: Sequence[str] | None,
    command: Callable[[argparse.Namespace, ml_collections.ConfigDict], int | None],
) -> int:
    """Runs a command with its arguments and its configuration, and returns its exit status.

    Args:
      parser: of the command.
      argv: see `ConfigParser.parse`.
      command: returns the exit status, or None for 0.
    """

    def parse_and_run() -> int | None:
        arguments, changes = parser.parse(argv)
        with prints_aside(arguments):
            return command(arguments, read_config(arguments.config, changes))

    return run_command(parse_and_run)
