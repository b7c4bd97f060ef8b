"""Random generators of the data, by key."""

from __future__ import annotations

import numpy as np

Key = tuple[int, ...]
"""The seed of a run, the number of a stream of it, and what else tells two draws apart.

The seed is below ``2**64``, and there are at most three integers after it, below ``2**32``.
"""


def generator(key: Key) -> np.random.Generator:
    """Returns the generator of a key, which no other key has, but for zeros at its end.

    For a seed below ``2**32`` it is ``np.random.default_rng(key)``. NumPy cuts integers into words
    of 32 bits and puts them in a row, so that ``(2**32, 0)`` and ``(0, 1, 0)`` are the same to it.
    The upper half of a larger seed therefore comes last, where no smaller seed has a word.
    """
    upper, lower = divmod(key[0], 2**32)
    if upper == 0:
        return np.random.default_rng(key)
    rest = [*key[1:], 0, 0, 0][:3]
    return np.random.default_rng((lower, *rest, upper))
