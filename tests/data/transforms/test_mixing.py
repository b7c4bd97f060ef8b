import numpy as np
import pytest

from snnjax.data.transforms.mixing import draw_mixing, mix


def make_batch(size=16, shape=(12, 10, 3)):
    labels = np.arange(size, dtype=np.int32)
    # Every pixel of an image has its number, times ten.
    images = np.broadcast_to((labels * 10).reshape(-1, *[1] * len(shape)), (size, *shape))
    return {'image': images.astype(np.uint8), 'label': labels}


def blend(batch, **options):
    size = len(batch['label'])
    options = {'mixup': 0, 'cutmix': 0, 'key': (0,), 'total': size, 'share': slice(size)} | options
    sides = batch['image'].shape[-3:-1]
    return mix(batch, draw_mixing(**options, sides=sides, mask=batch.get('mask')))


@pytest.mark.parametrize('shape', [(12, 10, 3), (4, 12, 10, 2)])
@pytest.mark.parametrize('kind', ['mixup', 'cutmix'])
def test_labels_have_the_weight_of_their_pixels(kind, shape):
    batch = make_batch(shape=shape)
    mixed = blend(batch, **{kind: 1.0})
    assert mixed['image'].dtype == np.uint8
    np.testing.assert_array_equal(mixed['label'], batch['label'])
    np.testing.assert_array_equal(mixed['mixed_label'], batch['label'] ^ 1)
    weight = mixed['label_weight']
    assert weight.dtype == np.float32
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert weight.std() > 0.1
    expected = 10 * (weight * mixed['label'] + (1 - weight) * mixed['mixed_label'])
    axes = tuple(range(1, 1 + len(shape)))
    np.testing.assert_allclose(mixed['image'].mean(axes), expected, atol=0.51)


def test_cutmix_pastes_one_rectangle():
    batch = make_batch(64)
    pasted = blend(batch, cutmix=1.0)['image'] != batch['image']
    for mask in pasted[..., 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert mask.sum() == len(rows) * len(columns)


def test_with_both_each_batch_has_one_of_them():
    batch = make_batch()
    kinds = set()
    for number in range(20):
        mixed = blend(batch, mixup=0.2, cutmix=1.0, key=(0, number))
        kinds.add(bool(np.isin(mixed['image'], batch['image']).all()))
    assert kinds == {True, False}


@pytest.mark.parametrize('kind', ['mixup', 'cutmix'])
@pytest.mark.parametrize('count', [2, 4])
def test_shares_are_those_of_the_whole_batch(kind, count):
    batch = make_batch()
    whole = blend(batch, **{kind: 1.0})
    size = 16 // count
    parts = []
    for i in range(count):
        share = slice(i * size, (i + 1) * size)
        part = {key: value[share] for key, value in batch.items()}
        parts.append(blend(part, **{kind: 1.0}, total=16, share=share))
    for key in whole:
        np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), whole[key])


@pytest.mark.parametrize('kind', ['mixup', 'cutmix'])
def test_nothing_comes_from_missing_images(kind):
    batch = make_batch() | {'mask': np.arange(16) % 3 != 0}
    mixed = blend(batch, **{kind: 1.0})
    alone = ~batch['mask'][np.arange(16) ^ 1]
    assert (mixed['label_weight'][alone] == 1).all()
    np.testing.assert_array_equal(mixed['image'][alone], batch['image'][alone])
    assert (mixed['label_weight'][~alone] < 1).any()
    np.testing.assert_array_equal(mixed['mask'], batch['mask'])
