"""Help for names that were mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """What may have been meant by ``name``: the near names of ``known``, or else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    return f'did you mean {" or ".join(near)}?' if near else f'known are {", ".join(known)}'
