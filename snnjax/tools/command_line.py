"""Parsers, JSON outputs and the exit of all commands.

This module imports nothing slow, so that ``--help`` answers at once. Commands import slow modules
after they have parsed their arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from snnjax.errors import run_command
from snnjax.modules import load_modules
from snnjax.tools.paths import output_file

# The program name that `snnjax.cli` writes to `sys.argv[0]`.
_CALLED = re.compile(r'(?P<program>(python -m )?snnjax) (?P<command>\w+)')
_COMMAND = re.compile(r'python -m snnjax\.(?:tools\.(?P<tool>\w+)|main\b)')


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser that shows a description in its help.

    Args:
      description: the docstring of the command.
    """
    return argparse.ArgumentParser(
        prog=_program(),
        description=as_called(description or ''),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def as_called(text: str) -> str:
    """Rewrites the commands in a text in the form that this process was called in.

    Args:
      text: the text, with its commands in the form ``python -m snnjax.tools.NAME``.
    """
    called = _CALLED.fullmatch(sys.argv[0])
    if called is None:
        return text
    return _COMMAND.sub(lambda match: f'{called["program"]} {match["tool"] or "train"}', text)


def _program() -> str | None:
    """Returns the program name for the usage line; None for that of argparse."""
    if _CALLED.fullmatch(sys.argv[0]):
        return sys.argv[0]
    spec = getattr(sys.modules['__main__'], '__spec__', None)
    name = spec.name if spec else ''
    return f'python -m {name}' if name.startswith('snnjax.') else None


def add_argument(
    parser: argparse._ActionsContainer, flag: str, *others: str, **options: Any
) -> None:
    """Adds an argument with further names that the help does not show.

    Args:
      parser: the parser of the command, or a group of its arguments.
      flag: the name of the argument.
      *others: the names of the argument in earlier versions. A name without dashes adds a
        positional argument.
      **options: the keyword arguments of `argparse.ArgumentParser.add_argument`.
    """
    required = options.pop('required', False)
    if required:
        parser = parser.add_mutually_exclusive_group(required=True)
    dest = parser.add_argument(flag, **options).dest
    hidden = options | {'dest': dest, 'help': argparse.SUPPRESS, 'default': argparse.SUPPRESS}
    for name in others:
        if name.startswith('-'):
            parser.add_argument(name, **hidden)
        else:
            position = {key: hidden[key] for key in ('help', 'default')}
            kind = _unless_absent(options.get('type', str))
            parser.add_argument(dest, nargs='?', type=kind, **position)


def _unless_absent(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns an argparse type that leaves the default of a missing argument as it is."""
    return lambda text: text if text == argparse.SUPPRESS else kind(text)


class JsonOutput:
    """The destination of the results of a command, which are written as JSON.

    Args:
      text: the path of a file, or '-' for stdout; stdout then gets nothing else.

    Raises:
      PathError: if the file cannot be written.
    """

    def __init__(self, text: str) -> None:
        self.is_stdout = text == '-'
        self._path = Path(text) if self.is_stdout else output_file(text)
        self._stdout = sys.stdout

    def write(self, value: Any) -> None:
        """Writes the results of a command as JSON.

        Args:
          value: the results, which JSON can hold.

        Raises:
          OSError: if the file cannot be written.
        """
        text = json.dumps(value, indent=2) + '\n'
        if self.is_stdout:
            self._stdout.write(text)
            return
        from snnjax.analysis.outputs import write_output

        write_output(self._path, text)


def add_json_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Adds the argument ``--json FILE|-``; its value is a `JsonOutput` or None.

    Args:
      parser: the parser of the command.
      optional: True to read ``--json`` without a file as ``--json=-``.
    """
    options: dict[str, Any] = {'nargs': '?', 'const': '-'} if optional else {}
    parser.add_argument(
        '--json',
        type=JsonOutput,
        metavar='FILE|-',
        help='file to write the results to; - writes them to stdout and all else to stderr',
        **options,
    )


@contextlib.contextmanager
def prints_aside(args: argparse.Namespace) -> Iterator[None]:
    """Redirects printed text to stderr if the JSON results go to stdout."""
    output = getattr(args, 'json', None)
    if isinstance(output, JsonOutput) and output.is_stdout:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    else:
        yield


def parse_and_run(
    command: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
) -> int:
    """Parses the arguments of a command, runs it and returns its exit status.

    Args:
      command: the function to call with the parsed arguments; it returns the exit status, or None
        for 0.
      parser: the parser of the arguments.
      argv: the arguments; None for those of this process.
    """
    # Parsing is inside run_command, because printing the help may fail on a closed pipe, too.
    return run_command(lambda: _run(command, parser.parse_args(argv)))


def _run(
    command: Callable[[argparse.Namespace], int | None], args: argparse.Namespace
) -> int | None:
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    try:
        with prints_aside(args):
            load_modules(getattr(args, 'imports', ''))
            return command(args)
    # JAX raises a subclass of RuntimeError; naming it here would import JAX.
    except RuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        reason = str(error).partition('\n')[0]
        raise MemoryError(f'{reason}; a smaller --batch_size needs less memory') from error
