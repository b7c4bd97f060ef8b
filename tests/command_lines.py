"""Tells which command lines their own parsers refuse; no command is run.

Reads a list of [MODULE, ARGUMENT, ...] from stdin as JSON; writes what is wrong with each, or null.
A process of its own, since it replaces what parsers and sweeps do.
"""

import argparse
import contextlib
import functools
import importlib
import io
import json
import sys
from unittest import mock

from snnjax.train.config_file import read_config


class Accepted(Exception):  # noqa: N818
    """The parser has taken the arguments."""


def problem(module, arguments):
    """What a command says of its arguments; None if it takes them."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parse(module, arguments)
    except Accepted:
        return None
    except (SystemExit, Exception) as error:
        return errors.getvalue() or repr(error)
    return errors.getvalue() or 'nothing was parsed'


def parse(name, arguments):
    module = importlib.import_module(name)
    patch = functools.partial(mock.patch.object, module)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, 'argv', [name, *arguments]))
        if name == 'snnjax.main':
            stack.enter_context(patch('_train', accept_config))
        elif hasattr(module, 'run_with_config'):
            stack.enter_context(patch('run_with_config', parse_with_config))
        elif name == 'snnjax.tools.sweep':
            lock = 'snnjax.train.run_directory.lock'
            stack.enter_context(mock.patch(lock, contextlib.nullcontext))
            stack.enter_context(patch('sweep', parse_sweep))
        else:
            stack.enter_context(mock.patch.object(argparse.ArgumentParser, 'parse_args', accept))
        module.main()


def parse_with_config(parser, argv, command):
    """Stands for `run_with_config`."""
    del command
    accept_config(*parser.parse(argv))


def accept_config(args, changes):
    """Stands for what a command does with its configuration."""
    read_config(args.config, changes)
    raise Accepted


def parse_sweep(path, runs, changes, workdir):
    """Stands for the sweep: what it would give to each training."""
    del workdir
    for arguments in runs.values():
        read_config(f'{path}:{arguments}', changes)
    raise Accepted


def accept(parser, *_):
    """Stands for ``parse_args``."""
    _, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f'unrecognized arguments: {" ".join(unknown)}')
    raise Accepted


if __name__ == '__main__':
    found = [problem(module, arguments) for module, *arguments in json.load(sys.stdin)]
    json.dump(found, sys.stdout)
