"""Calls of config files, and changes of their keys on the command line."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from snnjax.errors import ConfigError
from snnjax.paths import expand
from snnjax.spelling import did_you_mean

if TYPE_CHECKING:
    import ml_collections

PACKAGED = 'snnjax:'
"""The prefix of the config files that come with the package."""

_FOLDER = Path(__file__).parents[1] / 'configs'

CHANGE = re.compile(r'--(?P<no>no)?config\.(?P<key>[\w.]+)(=(?P<value>.*))?', re.DOTALL)


def read_config(given: str, changes: Iterable[str] = ()) -> ml_collections.ConfigDict:
    """Returns the configuration that a command line describes.

    Args:
      given: ``FILE``, ``FILE:ARGUMENTS`` or ``snnjax:NAME:ARGUMENTS``, see `split_config`.
      changes: the changes of keys, each ``--config.KEY=VALUE``. The last change of a key counts.
        The value ``None`` resets an optional key.

    Raises:
      ConfigError: if the file fails, or a change has an unknown key or a value of another type.
    """
    import ml_collections
    from ml_collections import config_flags

    from snnjax.train.config import flatten, optional_keys
    from snnjax.train.renamed_keys import current_key

    path, arguments = split_config(given)
    config = ml_collections.ConfigDict(call_config_file(path, 'get_config', arguments))
    known = flatten(config) | {'earlier_phases': {}}
    last: dict[str, str] = {}
    for change in changes:
        match = CHANGE.fullmatch(change)
        key = match['key'] if match else change
        if (current := current_key(key)) != key:
            key, change = current, change.replace(key, current, 1)
        if key not in known and not _of_function(key):
            raise ConfigError(f'unknown config key {key!r}; {did_you_mean(key, known)}')
        last.pop(key, None)
        last[key] = change
    optional = optional_keys(config)
    left_open = {
        key
        for key, change in last.items()
        if key in optional and change.partition('=')[2] in ('None', 'none')
    }
    options = {
        key: _value_of(change.partition('=')[2])
        for key, change in last.items()
        if _of_function(key)
    }
    typed = ['', *(last[key] for key in last.keys() - left_open - options.keys())]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=typed)
        values(typed)
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    config.update_from_flattened_dict(dict.fromkeys(left_open))
    with config.unlocked():
        config.update_from_flattened_dict(options)
    return config


def _of_function(key: str) -> bool:
    """Returns whether a key is an option of a function, which needs no default."""
    from snnjax.train.config import OPEN_KEYS

    return any(key.startswith(f'{other}.') for other in OPEN_KEYS)


def _value_of(text: str) -> Any:
    """Parses the value of an option: a Python literal, true, false, or else text."""
    words = {'true': True, 'false': False, 'True': True, 'False': False}
    if text in words:
        return words[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def split_config(given: str) -> tuple[Path, str]:
    """Returns the file and the arguments of ``FILE:ARGUMENTS``, or of ``snnjax:NAME:ARGUMENTS``.

    A colon may be part of the path: the longest path that is a file is taken, or else the text
    before the first colon. ``snnjax:cifar10`` is ``cifar10.py`` of the files that come with the
    package, unless there is a file of that path.

    Raises:
      ConfigError: if no config file of this name comes with the package.
      PathError: if the path begins with an unknown ``~user``.
    """
    parts = given.split(':')
    for number in range(len(parts), 0, -1):
        path = expand(':'.join(parts[:number]))
        if _is_file(path):
            return path, ':'.join(parts[number:])
    if given.startswith(PACKAGED):
        return _packaged(parts[1]), ':'.join(parts[2:])
    return expand(parts[0]), ':'.join(parts[1:])


def _packaged(name: str) -> Path:
    """Returns the path of a config file that comes with the package."""
    known = {path.stem: path for path in _FOLDER.glob('*.py')}
    if name not in known:
        raise ConfigError(
            f'no config file {name!r} comes with the package; {did_you_mean(name, known)}'
        )
    return known[name]


def _is_file(path: Path) -> bool:
    # Unlike `Path.is_file`, this returns false for names that are too long.
    return os.path.isfile(path)  # noqa: PTH113


def call_config_file(path: Path, function: str, arguments: str = '') -> Mapping[str, Any]:
    """Calls a function of a config file that returns a configuration, or the runs of a sweep.

    As in a script, the file can import the modules in its folder.

    Args:
      path: the path of the file.
      function: the name of the function. It gets the arguments as keyword arguments, of the types
        of its defaults. If its only argument is called ``arguments``, it gets their text.
      arguments: the ``key=value`` pairs, separated by commas.

    Raises:
      ConfigError: if the file or the function is missing or fails.
    """
    from ml_collections import ConfigDict

    if not _is_file(path):
        known = [str(other) for other in path.parent.glob('*.py')]
        near = f'; {did_you_mean(str(path), known)}' if known else ''
        raise ConfigError(f'no config file {path}{near}')
    try:
        with _imports_from(path.parent):
            content = runpy.run_path(str(path))
            if function not in content:
                raise ConfigError(f'{path} has no function {function}')
            result = _call(content[function], arguments)
    except ConfigError:
        raise
    except Exception as error:  # A user's file may raise any error.
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = f' (line {frames[-1].lineno})' if frames else ''
        raise ConfigError(f'{path}: {type(error).__name__}: {error}{line}') from error
    if not isinstance(result, Mapping | ConfigDict):
        raise ConfigError(f'{path}: {function} has to return a dictionary, not {result!r}')
    return result


def _call(function: Callable[..., Any], arguments: str) -> Any:
    from snnjax.train.config import parse_arguments

    parameters = inspect.signature(function).parameters
    if list(parameters) == ['arguments']:
        return function(*filter(None, [arguments]))
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not parameter.empty
    }
    return function(**parse_arguments(arguments, **defaults))


@contextlib.contextmanager
def _imports_from(folder: Path) -> Iterator[None]:
    """Imports modules from a folder first, and forgets them afterwards."""
    before, found = list(sys.path), dict(sys.modules)
    sys.path.insert(0, str(folder.absolute()))
    try:
        yield
    finally:
        sys.path[:] = before
        for name, module in list(sys.modules.items()):
            origin = getattr(module, '__file__', None)
            if name not in found and origin and Path(origin).parent == folder.absolute():
                del sys.modules[name]
