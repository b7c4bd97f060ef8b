"""Batches that devices make by recipe are those that the host makes."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from snnjax.data import ArraySplit
from snnjax.data.pipeline import TrainingBatches
from snnjax.data.splits import EventSplit
from snnjax.data.transforms.augment import ImageAugmentation
from snnjax.data.transforms.frames import EventAugmentation
from snnjax.data.transforms.framing import Framing
from snnjax.errors import ConfigError
from snnjax.train import device_images
from snnjax.train.device_images import DeviceImages, place_images
from snnjax.train.sharding import batch_sharded, batches_sharded, make_mesh, put_batch


@pytest.fixture(scope='module', params=[{'random_erasing': 0.7}, {'cutout': 3, 'mean': (9, 8, 7)}])
def split(request):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 6, 8, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 50, dtype=np.int32)
    augment = ImageAugmentation(**request.param)
    return ArraySplit(images, labels, crop_padding=2, flip=True, augment=augment)


@pytest.mark.parametrize('mixing', [(0.0, 0.0), (0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
@pytest.mark.parametrize('divided', [False, True])
def test_batches_are_those_of_the_host_bit_for_bit(split, divided, mixing):
    mesh = make_mesh(fsdp=2)
    images = DeviceImages(split.images, 2, mesh, divided=divided)
    batches = TrainingBatches(split, 16, 3, 6, *mixing)
    made = [
        images.batch(put_batch(batches.recipe(number), batch_sharded(mesh))) for number in range(6)
    ]
    recipes = [batches.recipe(number) for number in range(6)]
    stacked = {key: np.stack([recipe[key] for recipe in recipes]) for key in recipes[0]}
    at_once = images.batch(put_batch(stacked, batches_sharded(mesh)))
    for number, batch in enumerate(made):
        expected = batches[number]
        assert batch.keys() == at_once.keys() == expected.keys()
        for key, value in expected.items():
            assert batch[key].dtype == value.dtype
            assert batch[key].sharding == batch_sharded(mesh)
            np.testing.assert_array_equal(batch[key], value)
            np.testing.assert_array_equal(at_once[key][number], value)


def test_a_recipe_is_of_the_share_of_a_process(split):
    whole = TrainingBatches(split, 16, 3, 6, 0.4, 1.0)
    parts = [
        TrainingBatches(split, 16, 3, 6, 0.4, 1.0, process_index=i, process_count=2)
        for i in range(2)
    ]
    for key, value in whole.recipe(2).items():
        shares = [part.recipe(2)[key] for part in parts]
        np.testing.assert_array_equal(np.concatenate(shares), value)


def test_divided_images_lie_on_one_device_each(split):
    images = DeviceImages(split.images, 2, make_mesh(), divided=True)
    shards = images.images.addressable_shards
    # 50 images and 6 of padding.
    assert [shard.data.shape[0] for shard in shards] == [7] * 8


class _Device:
    platform = 'gpu'

    def __init__(self, room):
        self._room = room

    def memory_stats(self):
        return self._room and {'bytes_limit': self._room}


@pytest.mark.parametrize(
    ('on_device', 'room', 'expected'),
    [
        ('auto', None, [50] * 8),
        ('auto', 10**6, [50] * 8),
        ('auto', 8 * 1000, [7] * 8),
        ('auto', 7000, None),
        ('false', 10**6, None),
        ('true', 8 * 1000, [7] * 8),
    ],
)
def test_images_lie_where_there_is_room(split, monkeypatch, on_device, room, expected):
    """There are 7,200 bytes of images, 900 a device where they are divided."""
    mesh = make_mesh()
    monkeypatch.setattr(device_images, '_local_device', lambda _: _Device(room))
    placed = place_images(split, (6, 8, 3), on_device, mesh)
    sizes = placed and [shard.data.shape[0] for shard in placed.images.addressable_shards]
    assert sizes == expected


def test_images_that_have_to_be_on_devices_without_room_are_an_error(split, monkeypatch):
    mesh = make_mesh()
    monkeypatch.setattr(device_images, '_local_device', lambda _: _Device(7000))
    with pytest.raises(ConfigError, match='GB of images are too much for 8 devices'):
        place_images(split, (6, 8, 3), 'true', mesh)


def test_the_host_of_cpus_keeps_them_and_so_it_does_what_pillow_changes(split):
    mesh = make_mesh()
    assert place_images(split, (6, 8, 3), 'auto', mesh) is None
    pillow = ArraySplit(split.images, split.labels, augment=ImageAugmentation(rand_augment=1))
    assert place_images(pillow, (6, 8, 3), 'true', mesh) is None


@pytest.mark.parametrize(
    ('flip', 'frame'),
    [(False, Framing(4)), (True, Framing(4, values='time_surface', downsample=2))],
)
def test_frames_of_recordings_are_made_once(flip, frame):
    """Those of the host mirror events before they frame them."""
    rng = np.random.default_rng(0)
    recordings = [
        {
            'x': rng.integers(0, 8, 90, dtype=np.uint8),
            'y': rng.integers(0, 6, 90, dtype=np.uint8),
            'on': rng.integers(0, 2, 90, dtype=np.uint8),
            'elapsed': rng.integers(0, 50, 90, dtype=np.int32),
            'label': i % 10,
        }
        for i in range(24)
    ]
    records = types.SimpleNamespace(read=lambda numbers: [recordings[i] for i in numbers])
    split = EventSplit(records, np.arange(3, 24), 6, 8, frame, EventAugmentation(flip=flip))
    mesh = make_mesh()
    images = place_images(split, (4, *split.sides, 2), 'true', mesh)
    batches = TrainingBatches(split, 16, 3, 2, 0.4, 1.0)
    for number in range(2):
        batch = images.batch(put_batch(batches.recipe(number), batch_sharded(mesh)))
        for key, value in batches[number].items():
            np.testing.assert_array_equal(batch[key], value)
    shifted = dataclasses.replace(split, augment=EventAugmentation(shift=1))
    assert place_images(shifted, (4, 6, 8, 2), 'true', mesh) is None


def test_batches_of_other_splits_have_no_recipe():
    with pytest.raises(TypeError, match='range has no recipes'):
        TrainingBatches(range(32), 16, 3, 6).recipe(0)


def test_only_recipes_cross_to_the_devices(split):
    """With whole images on each, devices tell each other nothing."""
    mesh = make_mesh()
    images = DeviceImages(split.images, 2, mesh)
    recipe = put_batch(TrainingBatches(split, 16, 3, 6).recipe(0), batch_sharded(mesh))
    program = images.make_one.lower(images.images, recipe).compile().as_text()
    assert not any(word in program for word in ('all-', 'collective', 'reduce-scatter'))
    assert jax.tree.reduce(lambda total, x: total + x.nbytes, recipe, 0) < split.images.nbytes
