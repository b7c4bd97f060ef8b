"""Streams of random numbers of the data: no two are the same."""

import numpy as np
import pytest

from snnjax.data.generators import generator

# All halves of a seed may look like another number of the key.
SEEDS = [upper * 2**32 + lower for upper in range(4) for lower in range(4)] + [2**64 - 1]
KEYS = [(seed, stream, number) for seed in SEEDS for stream in range(3) for number in range(4)]
KEYS += [(*key, slot) for key in KEYS for slot in range(1, 4)]


def states(make):
    return {make(key).bit_generator.state['state']['state'] for key in KEYS}


def test_every_seed_below_two_to_the_64_has_streams_of_its_own():
    assert len(states(generator)) == len(KEYS)
    # What it is there for.
    assert len(states(np.random.default_rng)) < len(KEYS)


@pytest.mark.parametrize('key', [(0, 0, 0), (7, 1, 5, 3), (2**32 - 1, 2, 2**31)])
def test_smaller_seeds_are_those_of_numpy(key):
    assert generator(key).random() == np.random.default_rng(key).random()


def test_zeros_at_the_end_do_not_count():
    """As with NumPy: slots of a batch begin at 1, see `snnjax.data.splits`."""
    for seed in (5, 2**40 + 5):
        assert generator((seed, 1)).random() == generator((seed, 1, 0, 0)).random()
