import dataclasses
import importlib.util
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from snnjax.data import ArraySplit, DataOptions, DatasetNotPreparedError, open_dataset
from snnjax.data.options import EVALUATION, USED_FOR
from snnjax.data.transforms.augment import ImageAugmentation


def test_digits_need_no_preparation():
    digits = open_dataset(DataOptions(name='digits'))
    train, test = digits.load('train'), digits.load('test')
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape[1:] == digits.image_shape
    assert train.images.dtype == np.uint8
    assert set(test.labels) == set(range(digits.num_classes))
    np.testing.assert_allclose(train.images.mean(), digits.mean[0], atol=1e-3)
    np.testing.assert_allclose(train.images.std(), digits.std[0], atol=1e-3)
    # No image is in both.
    assert len(np.unique(np.concatenate([train.images, test.images]), axis=0)) == 1797


@pytest.mark.parametrize('found', [True, False])
def test_digits_are_those_of_scikit_learn(found, monkeypatch):
    """Read from its file, or by its loader where the file is not found."""
    if not found:
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    digits, expected = open_dataset(DataOptions(name='digits')), load_digits()
    is_test = np.arange(1797) % 5 == 0
    for split, chosen in (('train', ~is_test), ('test', is_test)):
        loaded = digits.load(split)
        np.testing.assert_array_equal(loaded.images[..., 0], expected.images[chosen])
        np.testing.assert_array_equal(loaded.labels, expected.target[chosen])


@pytest.mark.parametrize('name', ['cifar10', 'imagenet', 'nmnist', 'cifar10_dvs', 'dvs_gesture'])
def test_missing_data_gets_the_command_that_makes_it(tmp_path, name):
    command = f'python -m snnjax.tools.prepare {name} .* --data_dir={tmp_path}'
    with pytest.raises(DatasetNotPreparedError, match=command):
        open_dataset(DataOptions(name=name, dir=str(tmp_path)), num_steps=4)


def test_an_unknown_name_gets_the_near_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'digit'; did you mean digits"):
        open_dataset(DataOptions(name='digit', dir=str(tmp_path)))


def test_fake_photos_are_read_as_those_of_imagenet():
    options = DataOptions(name='fake_imagenet', image_size=32, crop_scale=0.08, flip=True)
    dataset = open_dataset(options)
    assert (dataset.image_shape, dataset.num_classes) == ((32, 32, 3), 1000)
    train = dataset.load('train')
    assert len(train) == 1_281_167
    numbers = np.array([7, 1_281_166])
    batch = train.training_batch(numbers, (0, 1, 0), slice(0, 2))
    assert batch['image'].shape == (2, 32, 32, 3)
    assert batch['image'].std() > 20
    assert batch['label'].tolist() == [7, 166]
    # About the size of ImageNet's own, 110 kB in the mean.
    sizes = [len(example['image']) for example in train.records.read(range(4))]
    assert 50_000 < np.mean(sizes) < 200_000


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'crop_padding': -1}, 'data.crop_padding=-1 must be at least 0'),
        ({'crop_scale': 0.0}, 'data.crop_scale=0.0 must be above 0 and at most 1'),
        ({'auto_augment': 'imagnet'}, "unknown data.auto_augment='imagnet'; did you mean imagenet"),
        ({'frames_by': 'times'}, "unknown data.frames_by='times'; did you mean time"),
        ({'split': 'random'}, 'data.split=random must be official, by_order or random:SEED'),
        ({'eval_size': 288, 'eval_resize': 256}, 'data.eval_resize=256 must be at least eval_size'),
        ({'image_size': 10**6}, 'data.image_size=1000000 must be at most 8,192'),
        ({'eval_size': 10**6}, 'data.eval_size=1000000 must be at most 8,192'),
        ({'eval_resize': 10**6}, 'data.eval_resize=1000000 must be at most 8,192'),
        ({'rand_augment': 10**6}, 'data.rand_augment=1000000 must be at most 100'),
        ({'mixup': float('inf')}, 'data.mixup=inf must be at most 1,000'),
        ({'cutmix': float('nan')}, 'data.cutmix=nan must be at least 0'),
        ({'frame_window': 10**13}, 'data.frame_window=10000000000000 must be at most'),
        ({'frame_values': 'voxels'}, "unknown data.frame_values='voxels'; did you mean voxel_grid"),
        ({'frame_values': 'voxel_grid'}, 'data.frame_values=voxel_grid must be left out, or given'),
        (
            {'frame_decay': 5},
            'data.frame_decay=5 must be left out, or given with data.frame_values',
        ),
        ({'frame_downsample': 0}, 'data.frame_downsample=0 must be at least 1'),
        ({'split': 'random:' + '9' * 5000}, 'must be official, by_order or random:SEED'),
        ({'rand_augment_magnitude': 31}, 'data.rand_augment_magnitude=31 must be 0 to 30'),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DataOptions(**options)


@pytest.mark.parametrize(
    ('options', 'shape'),
    [
        ({}, (224, 256)),
        ({'eval_size': 288, 'eval_resize': 320}, (288, 320)),
        ({'image_size': 64}, (64, 73)),
    ],
)
def test_test_images_are_cropped_as_in_the_paper(options, shape):
    assert DataOptions(**options).eval_shape == shape


def test_options_can_be_kept_as_json():
    options = DataOptions(name='x')
    assert DataOptions(**json.loads(json.dumps(dataclasses.asdict(options)))) == options


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'crop_padding': 8}, 'data.crop_padding=8 must be at most 7 for images of 8x8'),
        ({'crop_scale': 0.5}, 'data.crop_scale=0.5 is for photos and events, but digits has'),
        ({'frames_by': 'time'}, 'data.frames_by=time is for events'),
        ({'max_skipped': 3}, 'data.max_skipped=3 is for photos'),
        ({'auto_augment': 'cifar10'}, 'are for RGB images, but digits are gray'),
        ({'cutout': 4, 'random_erasing': 0.5}, 'data.cutout=4 must be left out'),
        ({'split': 'by_order'}, 'data.split=by_order: digits has an official split'),
    ],
)
def test_options_without_a_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        open_dataset(DataOptions(name='digits', **options))


def test_what_is_erased_has_pixels_of_the_data_set():
    train = open_dataset(DataOptions(name='digits', random_erasing=1.0)).load('train')
    numbers = np.arange(256)
    images = train.training_batch(numbers, (0, 1, 0), slice(0, 256))['image']
    assert (images != train.images[numbers]).any((1, 2, 3)).mean() > 0.8
    assert np.unique(images).tolist() == list(range(17))


def test_cutout_covers_a_square_with_the_mean_color():
    mean, side = (9.4, 8.6, 7.0), 4
    augment = ImageAugmentation(cutout=side, mean=mean)
    pixels, rng = np.full((8, 10, 3), 200, np.uint8), np.random.default_rng(0)
    covered = np.stack([(augment(pixels, rng) != 200).all(-1) for _ in range(2000)])
    assert np.unique(augment(pixels, rng).reshape(-1, 3), axis=0).tolist() == [
        [9, 9, 7],
        [200, 200, 200],
    ]
    # The center is any pixel, so squares at the border are cut.
    sizes = covered.sum((1, 2))
    assert sizes.max() == side * side
    assert sizes.min() == 4
    # A pixel is covered by the squares with a center at most one pixel before or two after it.
    expected = np.outer([3, 4, 4, 4, 4, 4, 3, 2], [3, 4, 4, 4, 4, 4, 4, 4, 3, 2]) / 80
    np.testing.assert_allclose(covered.mean(0), expected, atol=0.05)


def test_photos_have_no_padding():
    with pytest.raises(ValueError, match='crop_padding=4 is for small images and events'):
        open_dataset(DataOptions(name='fake_imagenet', crop_padding=4))


def test_every_option_has_a_meaning_somewhere():
    fields = {field.name for field in dataclasses.fields(DataOptions)}
    assert set.union(*USED_FOR.values()) == fields
    assert fields >= EVALUATION


@pytest.mark.parametrize('share', [slice(0, 8), slice(2, 5)])
def test_small_images_are_augmented_one_by_one(share):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(8, dtype=np.int32)
    augment = ImageAugmentation(auto_augment='cifar10', random_erasing=0.5)
    plain = ArraySplit(images, labels, 4, True)
    changed = dataclasses.replace(plain, augment=augment)
    before = plain.training_batch(labels, (1, 2), share)
    after = changed.training_batch(labels, (1, 2), share)
    assert after['image'].shape == before['image'].shape
    assert after['image'].dtype == np.uint8
    assert (after['image'] != before['image']).any((1, 2, 3)).mean() > 0.5
    whole = changed.training_batch(labels, (1, 2), slice(0, 8))
    np.testing.assert_array_equal(whole['image'][share], after['image'])
    # Test images stay as they are.
    np.testing.assert_array_equal(changed.examples(labels)['image'], images)
