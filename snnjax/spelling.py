"""Suggestions for misspelled names, and numbers with their nouns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a hint for an unknown name: the close names in ``known``, or else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    return f'did you mean {" or ".join(near)}?' if near else f'known are {", ".join(known)}'


def count(number: int, noun: str) -> str:
    """Returns a number with its noun: ``1 epoch``, ``1,200 steps``, ``2 batches``.

    Args:
      number: the count.
      noun: a regular noun in the singular.
    """
    if number == 1:
        return f'1 {noun}'
    ending = 'es' if noun.endswith(('s', 'x', 'tch', 'sh')) else 's'
    return f'{number:,} {noun}{ending}'


def split_names(text: str) -> list[str]:
    """Returns the names in a comma-separated text."""
    return [name.strip() for name in text.split(',') if name.strip()]


def natural_order(name: str) -> list[Any]:
    """Returns a sort key that orders names by the numbers in them."""
    return [
        (0, int(part), '') if part.isdecimal() else (1, 0, part)
        for part in re.split(r'(\d+)', name)
        if part
    ]
