"""Downloads of events, laid out as people have them -> prepared data sets."""

import struct
import tarfile
import zipfile

import numpy as np
import pytest

from snnjax.data import DataOptions, open_dataset, records
from snnjax.data.pipeline import TrainingBatches
from snnjax.data.sources import event_sets
from snnjax.data.sources.event_files import EventFileError, Events, read_nmnist
from snnjax.tools.prepare import main as prepare
from tests.data.files import write_all


def nmnist_file(x, number=30):
    """A recording whose events are all in column ``x``."""
    return b''.join(bytes([x, i % 34, 0x80 * (i % 2), i >> 8, i & 255]) for i in range(number))


def aedat2_file(x, number=30, start=0):
    """Likewise, of a DVS128, an event every millisecond."""
    events = ((i % 128) << 8 | x << 1 | i % 2 for i in range(number))
    return b'#!AER-DAT2.0\r\n' + b''.join(
        struct.pack('>II', address, start + 1000 * i) for i, address in enumerate(events)
    )


def aedat3_file(number=100):
    header = b'#!AER-DAT3.1\r\n#!END-HEADER\r\n'
    packet = struct.pack('<HHIIIIII', 1, 0, 8, 4, 0, number, number, number)
    return (
        header
        + packet
        + b''.join(struct.pack('<II', i % 128 << 17 | 5 << 2 | 3, 10 * i) for i in range(number))
    )


NMNIST = {
    f'{split}/{digit}/{number:05}.bin': nmnist_file(digit)
    for split, count in (('Train', 3), ('Test', 1))
    for digit in range(10)
    for number in range(count)
}
CIFAR10_DVS = {
    f'{name}/cifar10_{name}_{number}.aedat': aedat2_file(number)
    for name in event_sets._CIFAR10_DVS_CLASSES
    for number in range(20)
}
GESTURE = {
    'DvsGesture/trials_to_train.txt': b'user02_lab.aedat\nuser01_led.aedat\n',
    'DvsGesture/trials_to_test.txt': b'user24_lab.aedat\n',
    'DvsGesture/gesture_mapping.csv': b'',
    **{f'DvsGesture/{user}.aedat': aedat3_file() for user in ('user01_led', 'user02_lab')},
    'DvsGesture/user24_lab.aedat': aedat3_file(50),
    **{
        f'DvsGesture/{user}_labels.csv': b'class,startTime_usec,endTime_usec\n1,0,100\n11,200,400\n'
        for user in ('user01_led', 'user02_lab', 'user24_lab')
    },
}


def run(dataset, source, data_dir, *options):
    return prepare([dataset, f'--source={source}', f'--data_dir={data_dir}', *options])


def open_prepared(name, data_dir, num_steps=2, **options):
    return open_dataset(DataOptions(name=name, dir=str(data_dir), **options), num_steps)


def all_examples(split):
    return split.examples(np.arange(len(split)))


@pytest.mark.parametrize('archived', [False, True])
def test_nmnist_comes_as_two_archives_or_folders(archived, tmp_path, monkeypatch):
    source = write_all(tmp_path / 'source', {} if archived else NMNIST)
    if archived:
        monkeypatch.setattr(event_sets, '_NMNIST_MD5', {})
        for split in ('Train', 'Test'):
            with zipfile.ZipFile(source / f'{split}.zip', 'w') as archive:
                for name, content in NMNIST.items():
                    if name.startswith(split):
                        archive.writestr(name, content)
    assert run('nmnist', source, tmp_path) == 0
    dataset = open_prepared('nmnist', tmp_path)
    assert (dataset.image_shape, dataset.num_classes) == ((2, 34, 34, 2), 10)
    for split, count in (('train', 3), ('test', 1)):
        batch = all_examples(dataset.load(split))
        assert batch['label'].tolist() == [digit for digit in range(10) for _ in range(count)]
        assert batch['image'].sum((1, 2, 3, 4)).tolist() == [30] * 10 * count
        for image, digit in zip(batch['image'], batch['label'], strict=True):
            assert np.flatnonzero(image.sum((0, 1, 3))).tolist() == [digit]


def test_another_nmnist_archive_is_refused(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / 'Train.zip', 'w') as archive:
        archive.writestr('Train/0/00001.bin', nmnist_file(0))
    assert run('nmnist', tmp_path, tmp_path / 'data') == 2
    assert 'Train.zip has MD5' in capsys.readouterr().err


def test_cifar10_dvs_is_divided_by_order_or_at_random(tmp_path):
    write_all(tmp_path, CIFAR10_DVS)
    assert run('cifar10_dvs', tmp_path, tmp_path) == 0

    def numbers_of(how, split):
        batch = all_examples(open_prepared('cifar10_dvs', tmp_path, split=how).load(split))
        # All events of a recording are in the column of its number.
        columns = batch['image'].sum((1, 2, 4)).argmax(-1)
        return {
            label: columns[batch['label'] == label].tolist() for label in np.unique(batch['label'])
        }

    assert numbers_of('by_order', 'train') == {label: list(range(18)) for label in range(10)}
    assert numbers_of('by_order', 'test') == {label: [18, 19] for label in range(10)}
    train, test = numbers_of('random:3', 'train'), numbers_of('random:3', 'test')
    for label in range(10):
        assert len(train[label]) == 18
        assert sorted(train[label] + test[label]) == list(range(20))
    assert numbers_of('random:3', 'test') == test
    assert numbers_of('random:4', 'test') != test
    assert len({tuple(numbers) for numbers in test.values()}) > 5
    with pytest.raises(ValueError, match='cifar10_dvs has no official split'):
        open_prepared('cifar10_dvs', tmp_path).load('train')


def test_a_missing_class_of_cifar10_dvs_is_named(tmp_path, capsys):
    write_all(tmp_path, {k: v for k, v in CIFAR10_DVS.items() if 'frog' not in k})
    assert run('cifar10_dvs', tmp_path, tmp_path / 'data') == 2
    assert 'no frog.zip or frog in' in capsys.readouterr().err


@pytest.mark.parametrize('archived', [False, True])
def test_gestures_are_cut_out_of_their_recordings(archived, tmp_path, monkeypatch):
    source = tmp_path
    write_all(tmp_path, GESTURE)
    if archived:
        source = tmp_path / 'DvsGesture.tar.gz'
        monkeypatch.setattr(event_sets, '_GESTURE_MD5', {})
        with tarfile.open(source, 'w:gz') as tar:
            tar.add(tmp_path / 'DvsGesture', 'DvsGesture')
    assert run('dvs_gesture', source, tmp_path) == 0
    dataset = open_prepared('dvs_gesture', tmp_path)
    assert (dataset.image_shape, dataset.num_classes) == ((2, 128, 128, 2), 11)
    train = all_examples(dataset.load('train'))
    assert train['label'].tolist() == [0, 10, 0, 10]
    assert train['image'].sum((1, 2, 3, 4)).tolist() == [10, 20, 10, 20]
    assert all_examples(dataset.load('test'))['label'].tolist() == [0, 10]


def test_a_missing_recording_of_a_gesture_is_named(tmp_path, capsys):
    write_all(tmp_path, {k: v for k, v in GESTURE.items() if 'user24_lab.a' not in k})
    assert run('dvs_gesture', tmp_path, tmp_path / 'data') == 2
    assert 'no user24_lab.aedat in' in capsys.readouterr().err


def test_recordings_of_ones_own_are_cut_into_clips(tmp_path):
    files = {
        'train/mug/1.aedat': aedat2_file(1, 95, 500),
        'test/cup/1.aedat': aedat2_file(2, 25),
        'test/mug/a.aedat': aedat2_file(3, 9),
    }
    write_all(tmp_path / 'source', files)
    name = '--name=things'
    assert run('events_folder', tmp_path / 'source', tmp_path, name, '--clip=20000') == 0
    dataset = open_prepared('things', tmp_path, frames_by='time', frame_window=10_000)
    assert dataset.num_classes == 2
    train = all_examples(dataset.load('train'))
    # What is left over, less than a clip, is left out.
    assert train['label'].tolist() == [1] * 4
    assert train['image'].sum((2, 3, 4)).tolist() == [[10, 10]] * 4
    assert all_examples(dataset.load('test'))['label'].tolist() == [0]


@pytest.mark.parametrize(
    ('times', 'clips'),
    [
        (range(0, 100, 10), [(0, 40), (40, 80)]),
        ([5, 44, 45, 84], [(5, 45), (45, 85)]),
        # Nothing happens for hours, or the clock jumps.
        ([0, 39, 2**31 - 100], [(0, 40)]),
        ([], []),
    ],
)
def test_clips_are_whole_and_have_events(times, clips, tmp_path):
    content = b'#!AER-DAT2.0\r\n' + b''.join(struct.pack('>II', 2, time) for time in times)
    write_all(tmp_path, {'a/1.aedat': content})
    plan = event_sets.plan_events_folder(tmp_path, 'mine', 40)
    recordings = plan.splits['undivided']._recordings
    assert [(recording.start, recording.stop) for recording in recordings] == clips


def test_clips_of_no_length_are_refused(tmp_path):
    with pytest.raises(ValueError, match='clips of -1 µs'):
        event_sets.plan_events_folder(write_all(tmp_path, {'a/1.bin': b''}), 'mine', -1)


def test_the_camera_of_recordings_is_an_option(tmp_path, capsys):
    """N-Caltech101, whose files do not say that they are of a larger camera."""
    event = bytes([231, 170, 128, 0, 5])
    source = write_all(tmp_path / 's', {f'{c}/{i}.bin': event for c in 'ab' for i in range(10)})
    assert run('events_folder', source, tmp_path, '--name=mine') == 2
    assert 'a/0.bin: an event at column 231, row 170 is outside' in capsys.readouterr().err
    assert run('events_folder', source, tmp_path, '--name=mine', '--sensor_size=240x180') == 0
    dataset = open_prepared('mine', tmp_path, split='by_order')
    assert dataset.image_shape == (2, 180, 240, 2)
    images = all_examples(dataset.load('test'))['image']
    assert images[:, :, 170, 231, 1].sum() == images.sum() == 2


def test_frames_of_other_values_and_sizes_have_their_units(tmp_path):
    write_all(tmp_path / 'source', NMNIST)
    assert run('nmnist', tmp_path / 'source', tmp_path) == 0
    options = {'frames_by': 'time', 'frame_values': 'voxel_grid', 'frame_downsample': 2}
    dataset = open_prepared('nmnist', tmp_path, crop_padding=3, **options)
    assert (dataset.image_shape, dataset.std) == ((2, 17, 17, 2), (16, 16))
    split = dataset.load('test')
    assert split.sides == (17, 17)
    stored = all_examples(split)['image'].astype(int)
    # 30 events of each recording are divided between two moments.
    np.testing.assert_allclose(stored.sum((1, 2, 3, 4)) / dataset.std[0], 30, atol=0.5)
    assert TrainingBatches(split, 4, 0, 1)[0]['image'].shape == (4, 2, 17, 17, 2)
    with pytest.raises(
        ValueError, match='frame_downsample=3 must be a divisor of both sides of 34'
    ):
        open_prepared('nmnist', tmp_path, frame_downsample=3)


@pytest.mark.parametrize(
    ('suffix', 'size', 'message'),
    [
        ('bin', '240', "'240' must be WIDTHxHEIGHT in pixels, as 240x180"),
        ('bin', '0x180', 'a camera of 0 columns and 180 rows'),
        ('bin', '240x241', '1 to 256 columns and 1 to 240 rows'),
        ('bin', '99999x180', 'a camera of 99999 columns'),
        ('aedat', '128x128', '--sensor_size is for .bin files'),
    ],
)
def test_a_camera_that_cannot_be_is_refused(suffix, size, message, tmp_path, capsys):
    source = write_all(tmp_path / 's', {f'a/1.{suffix}': b''})
    try:
        status = run('events_folder', source, tmp_path, '--name=mine', f'--sensor_size={size}')
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('name', ['lr[0.1]', '{a,b}', 'a*?', 'a  b', 'größe 猫', 'a\nb', '~', '@1'])
def test_paths_are_names_and_no_patterns(name, tmp_path):
    of_class = name.replace('\n', ' ')  # The names of classes are lines of a file.
    files = {f'{of_class}/{name} {i}.bin': nmnist_file(i) for i in range(10)}
    source = write_all(tmp_path / name / name, files)
    data_dir = tmp_path / f'data {name}'
    assert run('events_folder', source, data_dir, '--name=mine') == 0
    dataset = open_prepared('mine', data_dir, split='by_order')
    batches = TrainingBatches(dataset.load('train'), batch_size=9, seed=0, num_batches=1)
    assert batches[0]['image'].sum() == 9 * 30


def test_recordings_may_be_empty_or_of_one_moment(tmp_path):
    files = {f'a/{i}.bin': b'' if i % 2 else nmnist_file(3, 5)[:5] * 5 for i in range(10)}
    assert run('events_folder', write_all(tmp_path / 's', files), tmp_path, '--name=mine') == 0
    for how in ('number', 'time'):
        dataset = open_prepared('mine', tmp_path, split='by_order', frames_by=how)
        counts = all_examples(dataset.load('train'))['image'].sum((2, 3, 4)).tolist()
        expected = [[2, 3], [0, 0]] if how == 'number' else [[5, 0], [0, 0]]
        assert counts == (expected * 5)[:9]


def test_recordings_without_a_division_are_divided_by_the_configuration(tmp_path):
    files = {f'{name}/{i}.bin': nmnist_file(i) for name in ('one', 'two') for i in range(10)}
    assert run('events_folder', write_all(tmp_path / 's', files), tmp_path, '--name=mine') == 0
    dataset = open_prepared('mine', tmp_path, split='by_order')
    assert [len(dataset.load(split)) for split in ('train', 'test')] == [18, 2]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'a/1.bin': nmnist_file(1), 'b/1.aedat': aedat2_file(1)}, 'prepare them separately'),
        ({'1.bin': nmnist_file(1)}, 'not in a folder of its class'),
        ({'a/1.txt': b''}, 'no files'),
        ({'a/1.bin': nmnist_file(1)[:-1]}, r'a/1\.bin: .* truncated'),
    ],
)
def test_folders_that_cannot_be_prepared(files, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        records.write(
            event_sets.plan_events_folder(write_all(tmp_path / 'source', files), 'mine'), tmp_path
        )
    assert not records.is_prepared(tmp_path, 'mine')


def test_events_are_stored_without_loss():
    events = read_nmnist(nmnist_file(3, 300))
    unpacked = event_sets.unpack(event_sets.pack(events), 34, 34)
    for name in ('x', 'y', 'on', 't'):
        np.testing.assert_array_equal(getattr(unpacked, name), getattr(events, name))


def test_a_pause_that_cannot_be_stored_is_refused():
    columns = np.zeros(2, np.uint16)
    events = Events(columns, columns, columns > 0, np.array([0, 2**31]), 34, 34)
    with pytest.raises(EventFileError, match='36 minutes or more'):
        event_sets.pack(events)


def test_the_official_layout_of_nmnist_is_read(real_data_dir, readers, tmp_path):
    assert run('nmnist', real_data_dir / 'events' / 'nmnist_tree', tmp_path) == 0
    dataset = open_prepared('nmnist', tmp_path, num_steps=1, frames_by='time')
    for split in ('train', 'test'):
        batch = all_examples(dataset.load(split))
        files = sorted((real_data_dir / 'events' / 'nmnist_tree' / split.title()).rglob('*.bin'))
        assert batch['label'].tolist() == [int(path.parent.name) for path in files]
        for image, path in zip(batch['image'], files, strict=True):
            x, y, on, _ = readers.decode_nmnist(path.read_bytes())
            expected = np.zeros((34, 34, 2), int)
            np.add.at(expected, (y, x, on), 1)
            np.testing.assert_array_equal(image[0], np.minimum(expected, 255))
