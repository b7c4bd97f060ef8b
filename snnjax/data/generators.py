"""Seeded random generators of the data pipeline."""

from __future__ import annotations

import numpy as np

Key = tuple[int, ...]
"""The seed of a run, the index of a random stream, and up to two integers that separate its draws.

The seed is below ``2**64``. The other integers, at most three, are below ``2**32``.
"""


def generator(key: Key) -> np.random.Generator:
    """Returns the random generator of a key.

    Keys have different generators, unless they differ only by zeros at the end. For a seed below
    ``2**32`` the generator is ``np.random.default_rng(key)``. NumPy splits integers into 32-bit
    words and concatenates them, so ``(2**32, 0)`` and ``(0, 1, 0)`` give it the same seed. The
    upper half of a larger seed is therefore put last, at a position that smaller seeds do not use.
    """
    upper, lower = divmod(key[0], 2**32)
    if upper == 0:
        return np.random.default_rng(key)
    rest = [*key[1:], 0, 0, 0][:3]
    return np.random.default_rng((lower, *rest, upper))
