"""Output that fits the width of the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap


def terminal_width() -> int | None:
    """Returns the width of the terminal in characters; None if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fit_terminal(text: str) -> str:
    """Returns a text with its long lines wrapped to the terminal, at words and with an indent.

    Args:
      text: the text; it is returned unchanged if stdout is not a terminal.
    """
    width = terminal_width()
    if width is None or width < 20:
        return text
    lines: list[str] = []
    for line in text.split('\n'):
        indent = ' ' * (len(line) - len(line.lstrip()) + 4)
        wrapped = textwrap.wrap(
            line,
            width,
            subsequent_indent=indent,
            replace_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += wrapped if len(line) > width else [line]
    return '\n'.join(lines)
