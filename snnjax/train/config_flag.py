"""The flag ``--config`` of commands: a config file, its arguments, and changes of single keys."""

from __future__ import annotations

import functools
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from ml_collections import config_flags

from snnjax.spelling import suggest
from snnjax.train.config import ConfigError, flatten

EXIT_USAGE = 2


@functools.cache
def define_config_flag() -> flags.FlagHolder:
    """Defines ``--config`` and, with the file given, ``--config.KEY`` for each of its keys.

    Once: the commands that have it can be imported together, as documentation tools do.
    """
    return config_flags.DEFINE_config_file('config', help_string='File of the configuration.')


def run(main: Callable[[list[str]], None], required: Sequence[str], usage: str) -> None:
    """Parses the command line and runs ``main``; ends the program where it cannot be run.

    Args:
      main: of the command.
      required: flags that have to be there.
      usage: a line that shows them.
    """
    app.run(main, flags_parser=lambda argv: _parse_flags(argv, required, usage))


def _parse_flags(argv: list[str], required: Sequence[str], usage: str) -> list[str]:
    try:
        _check_config_flags(argv)
        rest = flags.FLAGS(argv)
        for name in required:
            if not flags.FLAGS[name].present:
                raise ConfigError(f'--{name} is missing; usage: {usage}')
        if len(rest) > 1:
            raise ConfigError(f'unexpected argument {rest[1]!r}; usage: {usage}')
    except (ConfigError, flags.Error) as error:
        fail(str(error))
    return rest


def fail(message: str) -> NoReturn:
    """Ends the program: the command cannot be run as it was given."""
    print(f'error: {message}', file=sys.stderr)
    sys.exit(EXIT_USAGE)


def _check_config_flags(argv: list[str]) -> None:
    """Finds a config file that is not there, and keys that it has not, by their whole name."""
    given = [arg.partition('=')[2] for arg in argv if re.match(r'--?config=', arg)]
    if not given:
        return
    path, _, arguments = given[-1].partition(':')
    if not Path(path).is_file():
        raise ConfigError(f'no config file {path}')
    known = flatten(runpy.run_path(path)['get_config'](*filter(None, [arguments])))
    for arg in argv:
        override = re.match(r'--?(?:no)?config\.([\w.]+)', arg)
        if override and override[1] not in known:
            raise ConfigError(f'unknown config key {override[1]!r}; {suggest(override[1], known)}')
