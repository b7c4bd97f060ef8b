import numpy as np
import pytest

from snnjax.data import DatasetNotPreparedError, get_dataset


def test_digits_need_no_preparation():
    digits = get_dataset('digits')
    train, test = digits.load('train', ''), digits.load('test', '')
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape[1:] == digits.image_shape
    assert train.images.dtype == np.uint8
    assert set(test.labels) == set(range(digits.num_classes))
    np.testing.assert_allclose(train.images.mean(), digits.mean[0], atol=1e-3)
    np.testing.assert_allclose(train.images.std(), digits.std[0], atol=1e-3)
    # No image is in both.
    assert len(np.unique(np.concatenate([train.images, test.images]), axis=0)) == 1797


def test_missing_data_gets_the_command_that_makes_it(tmp_path):
    command = f'python -m snnjax.tools.prepare cifar10 .* --data_dir={tmp_path}'
    with pytest.raises(DatasetNotPreparedError, match=command):
        get_dataset('cifar10').load('train', str(tmp_path))


def test_an_unknown_name_gets_the_near_ones():
    with pytest.raises(ValueError, match="unknown data set 'digit'; did you mean digits"):
        get_dataset('digit')
