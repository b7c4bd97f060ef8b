"""Recordings of random events, encoded as cameras and their software write them.

Encoded bit by bit from the description of each format, so that what is read is compared with the
events themselves. Recordings of real cameras are in `tests.data.sources.test_event_files`.
"""

import struct

import numpy as np
import pytest

from snnjax.data import DataOptions, open_dataset
from snnjax.data.sources.event_files import EventFileError, read_aedat2, read_aedat3, read_nmnist
from snnjax.data.transforms.frames import frame_by_time
from snnjax.tools.prepare import main as prepare
from tests.data.files import write_all

JAER = (
    '#!AER-DAT2.0\r\n'
    '# This is a raw AE data file - do not edit\r\n'
    '# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n'
    '# Timestamps tick is 1 us\r\n'
    '# created Fri Jan 02 03:04:05 CET 2015\r\n'
)


def random_events(seed, number, side, seconds):
    """Returns columns, rows from the top, polarities (1 is ON) and microseconds, as lists."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, side, (2, number)).tolist()
    on = rng.integers(0, 2, number).tolist()
    return x, y, on, np.sort(rng.integers(0, int(seconds * 1e6), number)).tolist()


def number_of(*fields):
    """Returns the number that fields of bits make: (value, width), the highest first."""
    return int(''.join(f'{value:0{width}b}' for value, width in fields), 2)


def jaer_file(x, y, on, t, *, header=JAER, special=(), above=0, start=0):
    """Returns AEDAT 2.0 of a DVS128; after the events of ``special`` comes one that is none."""
    content = header.encode()
    for i, (column, row, polarity, time) in enumerate(zip(x, y, on, t, strict=True)):
        fields = (0, 1), (127 - row, 7), (column, 7), (1 - polarity, 1)
        content += (above << 16 | number_of(*fields)).to_bytes(4, 'big')
        content += ((start + time) % 2**32).to_bytes(4, 'big')
        if i in special:
            content += (1 << 15 | 5).to_bytes(4, 'big') + (start + time).to_bytes(4, 'big')
    return content


def nmnist_file(x, y, on, t):
    """Returns events of 40 bits each."""
    return b''.join(
        number_of((a, 8), (b, 8), (c, 1), (d, 23)).to_bytes(5, 'big')
        for a, b, c, d in zip(x, y, on, t, strict=True)
    )


def gesture_file(x, y, on, t, per_packet=100):
    """Returns AEDAT 3.1: packets of polarity events, packets of others, events that are invalid."""
    content = b'#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n'
    events = list(zip(x, y, on, t, strict=True))
    for first in range(0, len(events), per_packet):
        packet = events[first : first + per_packet]
        data = [(number_of((a, 15), (b, 15), (c, 1), (1, 1)), time) for a, b, c, time in packet]
        data.insert(1, (number_of((9, 15), (9, 15), (1, 1), (0, 1)), packet[0][3]))
        content += struct.pack('<2H6I', 1, 1, 8, 4, 0, len(data), len(data), len(packet))
        content += b''.join(struct.pack('<2I', *event) for event in data)
        content += struct.pack('<2H8I', 0, 1, 8, 4, 0, 1, 1, 1, 3, packet[0][3])
    return content


FILES = {
    'dvs128': (read_aedat2, jaer_file, 128, {}),
    'dvs128, special events': (read_aedat2, jaer_file, 128, {'special': range(0, 2000, 7)}),
    'dvs128, clock that overflows': (read_aedat2, jaer_file, 128, {'start': 2**32 - 700_000}),
    'written by saveaerdat.m': (
        read_aedat2,
        jaer_file,
        128,
        {'header': '#!AER-DAT2.0\n# This is a raw AE data file created by saveaerdat.m\n'},
    ),
    'nmnist': (read_nmnist, nmnist_file, 34, {}),
    'gesture': (read_aedat3, gesture_file, 128, {}),
}


@pytest.mark.parametrize('name', FILES)
def test_all_events_of_a_recording_are_read(name):
    read, write, side, options = FILES[name]
    x, y, on, t = random_events(0, 2000, side, seconds=1.5)
    events = read(write(x, y, on, t, **options))
    start = options.get('start', 0)
    assert (events.height, events.width) == (side, side)
    assert events.x.tolist() == x
    assert events.y.tolist() == y
    assert events.on.tolist() == [bool(polarity) for polarity in on]
    assert events.t.tolist() == [start + time for time in t]


@pytest.mark.parametrize('window', [50_000, 250_000])
def test_frames_count_the_events_of_each_window(window):
    x, y, on, t = random_events(1, 3000, 128, seconds=1)
    t[0] = 0
    number = 1_000_000 // window
    expected = np.zeros((number, 128, 128, 2), int)
    for column, row, polarity, time in zip(x, y, on, t, strict=True):
        expected[time // window, row, column, polarity] += 1
    frames = frame_by_time(read_aedat2(jaer_file(x, y, on, t)), number, window)
    np.testing.assert_array_equal(frames, expected)


FOREIGN = {
    'jAER, of a DAVIS346': (
        f'{JAER}# AEChip: eu.seebetter.ini.chips.davis.Davis346red\r\n'.encode(),
        'Davis346red, not of a DVS128',
    ),
    # A DAVIS240 has its row at bit 22, its column at bit 12 and its polarity at bit 11.
    'jAER, of a DAVIS240': (
        JAER.encode()
        + b''.join(struct.pack('>2I', 100 << 22 | x << 12 | 1 << 11, x) for x in (47, 48)),
        r'of event \d is not one of a DVS128: this is a recording of another camera',
    ),
    'dv': (b'#!AER-DAT4.0\r\n\x28\0\0\0\0\0IOHE' + bytes(40), 'this is AEDAT 4'),
    'Prophesee DAT': (
        b'% Data file containing CD events.\n% Version 2\n\x0c\x08' + bytes(8),
        'Prophesee DAT, not AEDAT 2.0',
    ),
    'Prophesee EVT3': (b'% Date 2020-01-02\n% evt 3.0\n% end\n' + bytes(8), 'Prophesee EVT3'),
    'MATLAB': (b'MATLAB 5.0 MAT-file, Platform: GLNXA64'.ljust(128) + bytes(40), 'MATLAB'),
    'a text': (b't,x,y,p\n1,2,3,0\n', 'this is an unknown format, not AEDAT 2'),
}


@pytest.mark.parametrize('name', FOREIGN)
def test_recordings_of_other_cameras_and_software_are_refused_by_name(name):
    content, message = FOREIGN[name]
    with pytest.raises(EventFileError, match=message):
        read_aedat2(content)


def test_a_recording_of_one_format_is_not_read_as_another():
    events = random_events(2, 7, 128, seconds=1)
    with pytest.raises(EventFileError, match=r'this is AEDAT 2\.0, not AEDAT 3\.1'):
        read_aedat3(jaer_file(*events))
    with pytest.raises(EventFileError, match='this is AEDAT 3, not AEDAT 2'):
        read_aedat2(gesture_file(*events))
    for content in (jaer_file(*events), gesture_file(*events)):
        with pytest.raises(EventFileError, match=r'not a multiple of 5 bytes|outside'):
            read_nmnist(content)


def test_the_layout_of_nmnist_is_read_event_by_event(tmp_path):
    recordings = {
        f'{split}/{digit}/{number:05}.bin': random_events(10 * number + digit, 200, 34, 0.3)
        for split, numbers in (('Train', (3, 11)), ('Test', (2,)))
        for digit in range(10)
        for number in numbers
    }
    files = {name: nmnist_file(*events) for name, events in recordings.items()}
    source = write_all(tmp_path / 'source', files)
    assert prepare(['nmnist', f'--source={source}', f'--data_dir={tmp_path}']) == 0
    options = DataOptions(name='nmnist', dir=str(tmp_path), frames_by='time')
    dataset = open_dataset(options, 1)
    for split in ('train', 'test'):
        examples = dataset.load(split)
        batch = examples.examples(np.arange(len(examples)))
        names = sorted(name for name in recordings if name.startswith(split.title()))
        assert batch['label'].tolist() == [int(name.split('/')[1]) for name in names]
        for image, name in zip(batch['image'], names, strict=True):
            expected = np.zeros((34, 34, 2), int)
            for column, row, polarity, _ in zip(*recordings[name], strict=True):
                expected[row, column, polarity] += 1
            np.testing.assert_array_equal(image[0], expected)
