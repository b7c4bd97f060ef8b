import jax
import numpy as np
import pytest

from snnjax.data import DataOptions, open_dataset
from snnjax.data.pipeline import TrainingBatches
from snnjax.errors import ConfigError
from snnjax.train.experiment import check
from snnjax.train.state import key_of_seed

SEEDS = (0, 1, 5, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**40, 5 * 2**32, 2**63, 2**64 - 1)


@pytest.mark.parametrize('wide', [False, True])
def test_every_seed_has_a_key_of_its_own(wide):
    with jax.enable_x64(wide):
        keys = {tuple(jax.random.key_data(key_of_seed(seed)).tolist()) for seed in SEEDS}
    assert len(keys) == len(SEEDS)


@pytest.mark.parametrize('seed', [0, 1, 12345, 2**31, 2**32 - 1])
def test_keys_of_32_bits_are_those_of_jax(seed):
    ours, theirs = (jax.random.key_data(key) for key in (key_of_seed(seed), jax.random.key(seed)))
    np.testing.assert_array_equal(ours, theirs)


def test_every_seed_has_an_order_and_augmentation_of_its_own():
    split = open_dataset(DataOptions(name='digits')).load('train')
    batches = [TrainingBatches(split, 64, seed, num_batches=1)[0] for seed in SEEDS]
    assert len({batch['label'].tobytes() for batch in batches}) == len(SEEDS)
    assert len({batch['image'].tobytes() for batch in batches}) == len(SEEDS)


@pytest.mark.parametrize('seed', [-1, 2**64, 2**80])
def test_other_seeds_are_refused(config, seed):
    config.seed = seed
    with pytest.raises(ConfigError, match=rf'seed={seed} must be at least 0 and below 2\*\*64'):
        check(config, num_devices=1)


@pytest.mark.parametrize('seed', [2**32, 2**63, 2**64 - 1])
def test_large_seeds_are_accepted(config, seed):
    config.seed = seed
    check(config, num_devices=1)
