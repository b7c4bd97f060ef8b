"""What the command lines of all commands share: parsers, outputs as JSON, and how a command ends.

Imports nothing that takes long, so that ``--help`` answers at once: commands import what they work
with when they have read their arguments.
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

# How `snnjax.cli` calls a command in `sys.argv`.
_CALLED = re.compile(r'(?P<program>(python -m )?snnjax) (?P<command>\w+)')
_COMMAND = re.compile(r'python -m snnjax\.(?:tools\.(?P<tool>\w+)|main\b)')


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose help shows the docstring of a command."""
    return argparse.ArgumentParser(
        prog=_program(),
        description=as_called(description or ''),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def as_called(text: str) -> str:
    """Returns a text with its commands written in the way in which this process was called.

    Args:
      text: text in which commands are written as ``python -m snnjax.tools.NAME``.
    """
    called = _CALLED.fullmatch(sys.argv[0])
    if called is None:
        return text
    return _COMMAND.sub(lambda match: f'{called["program"]} {match["tool"] or "train"}', text)


def _program() -> str | None:
    """Returns what a usage line begins with; None to leave it to argparse."""
    if _CALLED.fullmatch(sys.argv[0]):
        return sys.argv[0]
    spec = getattr(sys.modules['__main__'], '__spec__', None)
    name = spec.name if spec else ''
    return f'python -m {name}' if name.startswith('snnjax.') else None


def add_argument(
    parser: argparse._ActionsContainer, flag: str, *others: str, **options: Any
) -> None:
    """Adds an argument that has other names, too, which its help does not show.

    Args:
      parser: parser of the command, or a group of its arguments.
      flag: name of the argument.
      *others: its names in earlier versions; one without dashes stands for an argument by position.
      **options: arguments of `argparse.ArgumentParser.add_argument`.
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
    """Returns a type of arguments that keeps the default of one that was not given."""
    return lambda text: text if text == argparse.SUPPRESS else kind(text)


class JsonOutput:
    """Where a command writes its results as JSON.

    Args:
      text: name of a file, or '-' for stdout, which then has nothing else.

    Raises:
      PathError: for a file that cannot be written.
    """

    def __init__(self, text: str) -> None:
        self.is_stdout = text == '-'
        self._path = Path(text) if self.is_stdout else output_file(text)
        self._stdout = sys.stdout

    def write(self, value: Any) -> None:
        """Writes the results of a command.

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
    """Adds ``--json FILE|-``, whose value is a `JsonOutput` or None.

    Args:
      parser: parser of the command.
      optional: true to take ``--json`` without a file for ``--json=-``.
    """
    options: dict[str, Any] = {'nargs': '?', 'const': '-'} if optional else {}
    parser.add_argument(
        '--json',
        type=JsonOutput,
        metavar='FILE|-',
        help='file to write the results to; - to print nothing else',
        **options,
    )


@contextlib.contextmanager
def prints_aside(args: argparse.Namespace) -> Iterator[None]:
    """Sends what is printed to stderr, if the arguments leave stdout to JSON alone."""
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
    """Runs a command with the arguments that it was given; returns its exit status.

    Args:
      command: function of the arguments, which returns the exit status, or None for 0.
      parser: parser of the arguments.
      argv: arguments; None for those of this process.
    """
    # The help may be too much for whatever reads it, too.
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
    # That of JAX, which need not have been imported.
    except RuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        reason = str(error).partition('\n')[0]
        raise MemoryError(f'{reason}; a smaller --batch_size needs less') from error
