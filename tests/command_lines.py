"""Tells which command lines their own parsers refuse; no command is run.

Reads a list of [MODULE, ARGUMENT, ...] from stdin as JSON; writes what is wrong with each, or null.
A process of its own, since it replaces what parsers and sweeps do.
"""

import argparse
import contextlib
import copy
import importlib
import io
import json
import sys
from unittest import mock

from absl import flags
from ml_collections import config_flags

from snnjax.train import config_flag


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
    if flags.FLAGS.get_flags_for_module(name):
        parse_flags(name, arguments)
        raise Accepted
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, 'argv', [name, *arguments]))
        if name == 'snnjax.tools.sweep':
            stack.enter_context(mock.patch.object(module, 'lock', contextlib.nullcontext))
            stack.enter_context(mock.patch.object(module, 'sweep', parse_sweep))
        else:
            stack.enter_context(mock.patch.object(argparse.ArgumentParser, 'parse_args', accept))
        module.main()


def parse_flags(name, arguments):
    """Parses as `config_flag.run` does, by flags that no other command line has changed."""
    fresh = flags.FlagValues()
    config_flags.DEFINE_config_file('config', flag_values=fresh)
    for flag in flags.FLAGS.get_flags_for_module(name):
        fresh[flag.name] = copy.deepcopy(flag)
    argv = [name, *arguments]
    # Which keys are changed is looked up in sys.argv.
    with mock.patch.object(sys, 'argv', argv), mock.patch.object(flags, 'FLAGS', fresh):
        config_flag._parse_flags(argv, required=('config',), usage='')


def parse_sweep(path, runs, changes, workdir):
    """Stands for the sweep: what it would give to each training."""
    del workdir
    importlib.import_module('snnjax.main')
    for arguments in runs.values():
        parse_flags('snnjax.main', [f'--config={path}:{arguments}', *changes])
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
