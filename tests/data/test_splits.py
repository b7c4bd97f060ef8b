"""The random numbers of a batch and of its examples."""

import numpy as np
import pytest

from snnjax.data.generators import generator
from snnjax.data.splits import _generators


@pytest.mark.parametrize('seed', [0, 7, 2**32 + 5])
@pytest.mark.parametrize('number', [0, 3])
def test_a_batch_and_its_examples_draw_different_numbers(seed, number):
    key, total = (seed, 1, number), 6
    of_examples = _generators(key, total, slice(0, total))
    draws = [rng.integers(2**63) for rng in [generator(key), *of_examples]]
    assert len(set(draws)) == 1 + total
    # All but the first have the numbers of runs before, but for large seeds.
    if seed < 2**32:
        before = [np.random.default_rng((*key, slot)).integers(2**63) for slot in range(1, total)]
        assert draws[2:] == before


def test_the_generators_of_a_share_are_those_of_the_batch():
    whole = [rng.integers(2**63) for rng in _generators((1, 1, 2), 6, slice(0, 6))]
    shares = [_generators((1, 1, 2), 6, slice(start, start + 2)) for start in (0, 2, 4)]
    assert [rng.integers(2**63) for share in shares for rng in share] == whole
