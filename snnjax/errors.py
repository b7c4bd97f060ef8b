"""Errors that a user can mend, and the one place where a command meets them."""

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
# Of a process that SIGINT or SIGPIPE ends, as shells count it.
EXIT_KEYBOARD = 130
EXIT_CLOSED_PIPE = 141


class UserError(Exception):
    """An error that the user can mend, and whose message says how.

    Attributes:
      exit_status: status of a command that ends with the error.
      advice: a further line that says what to do, or ''.
    """

    exit_status: int = EXIT_USAGE
    advice: str = ''


class PathError(UserError, ValueError, argparse.ArgumentTypeError):
    """A path that cannot be used; the message says why, also as that of an argument."""


class ConfigError(UserError, ValueError):
    """A configuration that cannot be run; the message says which key, and what would do."""


class WeightsError(UserError, ValueError):
    """Weights that are not there, or that do not fit; the message says which."""


def run_command(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status.

    Prints a `UserError`, and an error of the operating system, as one line. Ends without a
    traceback after Ctrl-C, and if whatever reads the output, such as ``head``, has seen enough.

    Args:
      command: function that returns its exit status, or None for 0; it may parse its arguments with
        argparse.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Whatever a folder is called, its name can be printed.
        with contextlib.suppress(OSError):
            sys.stdout.reconfigure(errors='backslashreplace')
    status = _run(command)
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try to write what is left when it ends, and fail again.
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
        # argparse prints its help, or what is wrong, and ends.
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0


def _status_of(error: OSError) -> int:
    """Returns the exit status of a command that the system stopped, and says why it did."""
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
    """Prints ``error: …`` and the advice of the error to stderr, if anybody listens there."""
    advice = getattr(error, 'advice', '')
    try:
        print(f'error: {error}' + (f'\n{advice}' if advice else ''), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Lets a stream that cannot be written to any more write to nowhere."""
    with contextlib.suppress(OSError), open(os.devnull, 'w') as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), stream.fileno())
