"""Errors that a user can mend, and the one place where a command meets them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

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


class ConfigError(UserError, ValueError):
    """A configuration that cannot be run; the message says which key, and what would do."""


def run_command(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status.

    Prints a `UserError` as one line. Ends without a traceback after Ctrl-C, and when whatever reads
    the output, such as ``head``, has seen enough.

    Args:
      command: function that returns its exit status, or None for 0.
    """
    try:
        status = command() or 0
        sys.stdout.flush()
    except UserError as error:
        print_error(error)
        return error.exit_status
    except BrokenPipeError:
        # Python would try to flush what is left when it ends, and fail again.
        with open(os.devnull, 'w') as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return EXIT_CLOSED_PIPE
    except KeyboardInterrupt:
        return EXIT_KEYBOARD
    return status


def print_error(error: object) -> None:
    """Prints ``error: …`` and the advice of the error to stderr, if anybody listens there."""
    advice = getattr(error, 'advice', '')
    with contextlib.suppress(OSError):
        print(f'error: {error}' + (f'\n{advice}' if advice else ''), file=sys.stderr, flush=True)
