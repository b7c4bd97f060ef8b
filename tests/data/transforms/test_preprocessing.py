import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from snnjax.data import DataOptions, open_dataset
from snnjax.data.transforms.preprocessing import (
    InputError,
    Preprocessing,
    preprocessing_of,
    read_preprocessing,
)
from snnjax.tools.prepare import main as prepare
from tests.data.sources.test_event_sets import aedat2_file, aedat3_file, nmnist_file

PHOTOS = Preprocessing((8, 8, 3), (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), resize=9)
EVENTS = Preprocessing((2, 34, 34, 2), (0.0, 0.0), (1.0, 1.0))


def of(name, num_steps=None, **options):
    options = DataOptions(name=name, **options)
    dataset = open_dataset(options, num_steps)
    examples = dataset.load('test')
    return preprocessing_of(dataset, examples, options), examples


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'PNG')
    return content.getvalue()


def test_a_photo_is_made_as_in_an_evaluation(tmp_path):
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for i in range(3):
            path = tmp_path / 'source' / split / 'ab'[i % 2] / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(rng.integers(0, 256, (40, 30 + i, 3), np.uint8)))
    source, data_dir = str(tmp_path / 'source'), str(tmp_path / 'data')
    assert prepare(['folder', '--name=mine', f'--source={source}', f'--data_dir={data_dir}']) == 0
    made, examples = of('mine', dir=data_dir, image_size=16, eval_size=20, eval_resize=24)
    assert made.shape == (20, 20, 3)
    files = ['a/0.png', 'a/2.png', 'b/1.png']
    read = [made.read(tmp_path / 'source/test' / file) for file in files]
    np.testing.assert_array_equal(read, examples.examples(np.arange(3))['image'])


def test_digits_come_back_from_photos_of_them(tmp_path):
    made, examples = of('digits')
    digit = examples.examples(np.arange(1))['image'][0]
    path = tmp_path / 'digit.png'
    path.write_bytes(png(np.round(digit[..., 0] * (255 / 16)).astype(np.uint8)))
    np.testing.assert_array_equal(made.read(path), digit)
    # As stored, they are taken as they are.
    np.testing.assert_array_equal(made.convert(digit), digit)


@pytest.mark.parametrize('size', [(1, 1), (8, 8), (400, 3), (31, 77)])
def test_photos_of_all_sizes_and_kinds_will_do(size, tmp_path):
    pixels = np.full((*size, 3), 77, np.uint8)
    (tmp_path / 'x.jpg').write_bytes(png(pixels))
    for image in (PHOTOS.read(tmp_path / 'x.jpg'), PHOTOS.convert(pixels)):
        assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)
        assert (image == 77).all()
    np.testing.assert_array_equal(PHOTOS.convert(pixels[..., 0]), PHOTOS.convert(pixels))


@pytest.mark.parametrize('pixels', [np.zeros((8, 8, 3)), np.zeros((2, 8, 8, 4), np.uint8), 'ab'])
def test_other_pixels_are_refused(pixels):
    with pytest.raises(InputError, match='pixels'):
        PHOTOS.convert(pixels)


def test_recordings_are_framed_as_in_an_evaluation(tmp_path):
    for split in ('train', 'test'):
        for i, name in enumerate('ab'):
            path = tmp_path / 'source' / split / name / f'{i}.bin'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(nmnist_file(3 + i))
    source, data_dir = str(tmp_path / 'source'), str(tmp_path / 'data')
    command = ['events_folder', '--name=mine', f'--source={source}', f'--data_dir={data_dir}']
    assert prepare(command) == 0
    surfaces = {'frame_values': 'time_surface', 'frame_decay': 9, 'frame_downsample': 2}
    voxels = {'frames_by': 'time', 'frame_window': 8, 'frame_values': 'voxel_grid'}
    for options in ({}, {'frames_by': 'time', 'frame_window': 50}, surfaces, voxels):
        made, examples = of('mine', num_steps=3, dir=data_dir, **options)
        side = 34 // options.get('frame_downsample', 1)
        assert made.shape == (3, side, side, 2)
        assert read_preprocessing(made.to_json()) == made
        read = [made.read(tmp_path / 'source/test' / file) for file in ('a/0.bin', 'b/1.bin')]
        np.testing.assert_array_equal(read, examples.examples(np.arange(2))['image'])


def test_recordings_of_dvs128_are_told_by_their_headers(tmp_path):
    made = dataclasses.replace(EVENTS, shape=(2, 128, 128, 2))
    for content in (aedat2_file(3), aedat3_file()):
        (tmp_path / 'x.aedat').write_bytes(content)
        assert made.read(tmp_path / 'x.aedat').sum() > 0
        with pytest.raises(InputError, match=r'x\.aedat'):
            EVENTS.read(tmp_path / 'x.aedat')


@pytest.mark.parametrize('made', [PHOTOS, EVENTS], ids=['photos', 'events'])
@pytest.mark.parametrize('content', [b'', b'hello', b'\x89PNG\r\n', b'#!AER-DAT2.0\r\n123'])
def test_other_files_are_refused_by_name(made, content, tmp_path):
    path = tmp_path / 'x.txt'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'x\.txt: '):
        made.read(path)
    with pytest.raises(InputError, match=r'y\.txt: no such file'):
        made.read(tmp_path / 'y.txt')
    with pytest.raises(InputError, match=': a folder'):
        made.read(tmp_path)


@pytest.mark.parametrize('made', [PHOTOS, EVENTS], ids=['photos', 'events'])
def test_json_holds_it(made):
    assert read_preprocessing(json.loads(json.dumps(made.to_json()))) == made


def test_what_older_weights_say_is_nothing():
    assert read_preprocessing({'name': 'ms_resnet8', 'options': {}}) is None
    assert read_preprocessing({'images': None}) is None
    images = PHOTOS.to_json()['images']
    assert read_preprocessing({'images': images}) is None


@pytest.mark.parametrize(
    'change',
    [
        {'images': {'shape': [8.5, 8, 3], 'mean': [1, 2, 3], 'std': [1, 1, 1]}},
        {'images': {'shape': [2**20, 2**20, 3], 'mean': [1, 2, 3], 'std': [1, 1, 1]}},
        {'images': {'shape': [8, 8, 3], 'mean': [1, 2], 'std': [1, 1]}},
        {'images': {'shape': [8, 8, 3], 'mean': [1, 2, 3], 'std': [1, 1, 0]}},
        {'images': {'shape': [8, 8, 3], 'mean': [1, 2, 'x'], 'std': [1, 1, 1]}},
        {'images': {'shape': [[8], 8, 3], 'mean': [1, 2, 3], 'std': [1, 1, 1]}},
        {'preprocessing': {'resize': 4}},
        {'preprocessing': {'resize': '9'}},
        {'preprocessing': {'resize': 9, 'white': 0}},
        {'preprocessing': {'resize': 9, 'frames_by': 'chance'}},
        {'preprocessing': {'resize': 9, 'shape': [1, 1, 3]}},
        {'preprocessing': [9]},
    ],
)
def test_what_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match='invalid preprocessing'):
        read_preprocessing(PHOTOS.to_json() | change)
