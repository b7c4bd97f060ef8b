"""Errors that a user can fix, and their handling by commands."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TextIO

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again.
# Shells report these for processes that SIGINT or SIGPIPE has ended.
EXIT_KEYBOARD = 130
EXIT_CLOSED_PIPE = 141


class UserError(Exception):
    """An error that the user can fix; its message gives the fix.

    Attributes:
      exit_status: the exit status of a command that ends with this error.
      advice: a further line of the message with a hint, or ''.
    """

    exit_status: int = EXIT_USAGE
    advice: str = ''


class PathError(UserError, ValueError, argparse.ArgumentTypeError):
    """An invalid path, also as an argument of argparse; the message gives the reason."""


class ConfigError(UserError, ValueError):
    """An invalid configuration; the message names the key and the valid values."""


class WeightsError(UserError, ValueError):
    """Weights that are missing or do not fit; the message gives the details."""


def run_command(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status.

    Prints a `UserError` or an error of the operating system as one line. Ends without a traceback
    after Ctrl-C, and when a reader of the output such as ``head`` closes the pipe.

    Args:
      command: the function to run; it returns its exit status, or None for 0. It may parse its
        arguments with argparse.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that the encoding cannot represent must not stop the output.
        with contextlib.suppress(OSError):
            sys.stdout.reconfigure(errors='backslashreplace')
    status = _run(command)
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would flush again at exit and fail a second time.
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return status or EXIT_CLOSED_PIPE
        return status or _status_of(error)
    return status


def _run(command: Callable[[], int | None]) -> int:
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command() or 0
    except UserError as error:
        print_error(error)
        return error.exit_status
    except KeyboardInterrupt:
        return EXIT_KEYBOARD
    except OSError as error:
        return _status_of(error)
    except MemoryError as error:
        print_error(f'out of memory: {error}')
        return EXIT_FAILED
    except SystemExit as end:
        # argparse exits after printing its help or a usage error.
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0


def _status_of(error: OSError) -> int:
    """Prints an error of the operating system and returns the exit status for it."""
    if isinstance(error, BrokenPipeError) and _is_closed(sys.stdout):
        return EXIT_CLOSED_PIPE
    print_error(f'{error.filename}: {error.strerror}' if error.filename else error)
    return EXIT_FAILED if error.errno in _FAILURES else EXIT_USAGE


_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE)


def _is_closed(stream: TextIO | None) -> bool:
    """Returns whether a stream is a pipe or socket whose other end is closed."""
    if stream is None:
        return False
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return False  # It has no descriptor.
    return bool(poll.poll(0))


def print_error(error: object) -> None:
    """Prints ``error: …`` and the error's advice to stderr, if it can be written to."""
    advice = getattr(error, 'advice', '')
    try:
        print(f'error: {error}' + (f'\n{advice}' if advice else ''), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Redirects a stream that can no longer be written to the null device."""
    with contextlib.suppress(OSError), open(os.devnull, 'w') as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), stream.fileno())
