"""The flag ``--config`` of commands: a config file, its arguments, and changes of single keys."""

from __future__ import annotations

import functools
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from snnjax.errors import EXIT_USAGE, print_error
from snnjax.spelling import suggest
from snnjax.train.config import ConfigError, flatten


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
    print_error(message)
    sys.exit(EXIT_USAGE)


def call_config_file(path: str, function: str, *arguments: str) -> Mapping[str, Any]:
    """What a function of a config file returns: a configuration, or the runs of a sweep.

    Raises:
      ConfigError: where there is no such file or function, or it fails.
    """
    if not Path(path).is_file():
        known = [str(other) for other in Path(path).parent.glob('*.py')]
        raise ConfigError(f'no config file {path}' + (f'; {suggest(path, known)}' if known else ''))
    try:
        content = runpy.run_path(path)
        if function not in content:
            raise ConfigError(f'{path} has no function {function}')
        result = content[function](*arguments)
    except ConfigError:
        raise
    except Exception as error:  # Whatever is wrong in a file that somebody is just writing.
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        line = f' (line {frames[-1].lineno})' if frames else ''
        raise ConfigError(f'{path}: {type(error).__name__}: {error}{line}') from error
    if not isinstance(result, Mapping | ml_collections.ConfigDict):
        raise ConfigError(f'{path}: {function} has to return a dictionary, not {result!r}')
    return result


def _check_config_flags(argv: list[str]) -> None:
    """Finds a config file that is not there, and keys that it has not, by their whole name."""
    given = [arg.partition('=')[2] for arg in argv if re.match(r'--?config=', arg)]
    if not given:
        return
    path, _, arguments = given[-1].partition(':')
    known = flatten(call_config_file(path, 'get_config', *filter(None, [arguments])))
    for arg in argv:
        override = re.match(r'--?(?:no)?config\.([\w.]+)', arg)
        if override and override[1] not in known:
            raise ConfigError(f'unknown config key {override[1]!r}; {suggest(override[1], known)}')
