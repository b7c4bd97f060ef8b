"""Real recordings where they are to be had, small ones made as the formats say, and broken ones."""

import contextlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snnjax.data.sources.event_files import (
    EventFileError,
    Events,
    read_aedat2,
    read_aedat3,
    read_gesture_labels,
    read_nmnist,
)
from snnjax.data.transforms.frames import frame_by_time

READERS = {'aedat2': read_aedat2, 'aedat3': read_aedat3, 'nmnist': read_nmnist}


def aedat2(events, header='#!AER-DAT2.0\r\n# a comment\r\n'):
    """Events are (address, time)."""
    return header.encode() + b''.join(struct.pack('>II', *event) for event in events)


def dvs128_address(x, y_from_below, on):
    return y_from_below << 8 | x << 1 | (not on)


def aedat3(packets):
    """Packets are (type, overflow, [(x, y, on, valid, time)])."""
    content = b'#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n'
    for kind, overflow, events in packets:
        number = len(events)
        content += struct.pack('<HHIIIIII', kind, 0, 8, 4, overflow, number, number, number)
        for x, y, on, valid, time in events:
            content += struct.pack('<Ii', x << 17 | y << 2 | on << 1 | valid, time)
    return content


def columns(events):
    return [events.x.tolist(), events.y.tolist(), events.on.tolist(), events.t.tolist()]


def test_aedat2_has_its_rows_from_below_and_drops_special_events():
    content = aedat2(
        [
            (dvs128_address(5, 0, True), 100),
            (1 << 31 | dvs128_address(1, 1, True), 110),
            (1 << 15, 120),
            (dvs128_address(127, 127, False), 130),
        ]
    )
    events = read_aedat2(content)
    assert columns(events) == [[5, 127], [127, 0], [True, False], [100, 130]]
    assert events.x.dtype == events.y.dtype == np.uint16
    assert (events.on.dtype, events.t.dtype) == (bool, np.int64)
    assert (events.height, events.width) == (128, 128)


def test_aedat2_times_go_on_where_their_counter_overflows():
    times = [2**31 - 5, 2**31 + 5, 2**32 - 1, 3, 1]
    events = read_aedat2(aedat2([(0, time) for time in times]))
    assert events.t.tolist() == [2**31 - 5, 2**31 + 5, 2**32 - 1, 2**32 + 3, 2**32 + 1]


def nmnist(times):
    """Events of 40 bits; what their 23 bits cannot hold is cut off."""
    return b''.join(bytes([1, 2, (t >> 16) & 127, (t >> 8) & 255, t & 255]) for t in times)


WRITERS = {
    'aedat2': lambda times: aedat2([(0, time % 2**32) for time in times]),
    'aedat3': lambda times: aedat3([(1, 0, [(1, 1, 1, 1, time % 2**31) for time in times])]),
    'nmnist': nmnist,
}
PERIODS = {'aedat2': 2**32, 'aedat3': 2**31, 'nmnist': 2**23}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize(
    ('times', 'expected'),
    [
        # Set back to 0, to a time in between, and twice.
        ([3_000_000, 4_000_000, 0, 1_000_000], [3_000_000, 4_000_000, 4_000_000, 5_000_000]),
        ([2_000_000, 3_000_000, 1_500_000, 1_600_000], [2e6, 3e6, 3e6, 3.1e6]),
        ([500_000, 0, 500_000, 0, 1], [500_000, 500_000, 1_000_000, 1_000_000, 1_000_001]),
        # Buffers of a camera that are written out of turn.
        ([100, 90, 110, 105], [100, 90, 110, 105]),
        ([100_000, 1, 200_000], [100_000, 1, 200_000]),
        ([7], [7]),
        ([7, 7, 7], [7, 7, 7]),
    ],
)
def test_the_clock_of_a_recording_only_goes_on(reader, times, expected):
    events = READERS[reader](WRITERS[reader](times))
    assert events.t.tolist() == expected
    frames = frame_by_time(events, 4).sum((1, 2, 3))
    # None is laid over one of another second.
    since = np.array(expected) - min(expected)
    assert (
        frames.tolist()
        == np.bincount((since * 4 // (since.max() + 1)).astype(int), minlength=4).tolist()
    )


@pytest.mark.parametrize('reader', READERS)
def test_a_counter_that_overflows_goes_on_counting(reader):
    period = PERIODS[reader]
    times = [period - 2_000_000, period - 1, period + 5, period + 3, period + 4_000_000]
    assert READERS[reader](WRITERS[reader](times)).t.tolist() == times


@pytest.mark.parametrize('reader', READERS)
def test_times_that_run_backwards_in_small_steps_are_refused(reader):
    times = range(900_000, 0, -50_000)
    with pytest.raises(EventFileError, match='the times run backwards; sort the events by time'):
        READERS[reader](WRITERS[reader](times))


def test_40_bits_an_event_are_read_of_larger_cameras():
    """As N-Caltech101 has them."""
    content = bytes([231, 170, 128, 0, 5, 0, 240, 0, 0, 0, 239, 179, 0, 0, 1])
    events = read_nmnist(content, height=180, width=240)
    assert columns(events) == [[231, 239], [170, 179], [True, False], [5, 2**13 + 1]]
    assert (events.height, events.width) == (180, 240)
    with pytest.raises(EventFileError, match=r'column 231, row 170 is outside .* --sensor_size'):
        read_nmnist(content)
    for size in ((241, 240), (180, 257), (0, 1), (34.0, 34)):
        with pytest.raises(ValueError, match='40 bits per event have room for'):
            read_nmnist(content, height=size[0], width=size[1])


def test_aedat3_is_read_of_other_cameras():
    content = aedat3([(1, 0, [(345, 259, 1, 1, 50)])])
    assert read_aedat3(content, height=260, width=346).x.tolist() == [345]
    with pytest.raises(EventFileError, match='column 345, row 259 is outside'):
        read_aedat3(content)


ONE = np.ones(1, np.uint16)


@pytest.mark.parametrize(
    ('columns', 'message'),
    [
        ({'x': np.array([-1])}, 'column -1, row 1 is outside'),
        ({'y': np.array([34], np.uint16)}, 'column 1, row 34 is outside'),
        ({'on': np.array([-1])}, 'polarities are int64: they must be bool'),
        ({'t': np.zeros(2, int)}, 'all must be'),
        ({'x': np.zeros((1, 1), int)}, 'all must be'),
    ],
)
def test_events_that_cannot_be_are_refused(columns, message):
    good = {'x': ONE, 'y': ONE, 'on': ONE > 0, 't': np.zeros(1, np.int64)}
    with pytest.raises(EventFileError, match=message):
        Events(**(good | columns), height=34, width=34)


def test_nmnist_has_40_bits_an_event():
    content = bytes([33, 2, 0x81, 0x02, 0x03, 0, 33, 0x00, 0x00, 0x07])
    events = read_nmnist(content)
    assert columns(events) == [[33, 0], [2, 33], [True, False], [0x010203, 7]]
    assert (events.height, events.width) == (34, 34)


def test_nmnist_counts_overflows_of_its_clock():
    content = bytes([1, 1, 0, 0, 9, 0, 240, 0, 0, 9, 2, 2, 0, 0, 1, 0, 240, 0, 0, 0, 3, 3, 0, 0, 4])
    events = read_nmnist(content)
    assert columns(events) == [[1, 2, 3], [1, 2, 3], [False] * 3, [9, 2**13 + 1, 2 * 2**13 + 4]]


def test_aedat3_reads_valid_polarity_events_of_all_packets():
    content = aedat3(
        [
            (1, 0, [(3, 4, 1, 1, 50), (5, 6, 0, 0, 51)]),
            (2, 0, [(0, 0, 0, 1, 52)]),
            (1, 1, [(127, 0, 0, 1, 7)]),
        ]
    )
    events = read_aedat3(content)
    assert columns(events) == [[3, 127], [4, 0], [True, False], [50, 2**31 + 7]]


def test_gesture_labels_begin_at_zero():
    content = b'class,startTime_usec,endTime_usec\r\n1,10,20\r\n11,30,45\r\n'
    assert read_gesture_labels(content) == [(0, 10, 20), (10, 30, 45)]


@pytest.mark.parametrize(
    'rows', ['0,10,20', '12,10,20', '1,20,10', '1,x,20', '1,10', '1,-5,20', '1,10,20\0']
)
def test_gesture_labels_that_cannot_be_are_refused(rows):
    with pytest.raises(EventFileError, match='the labels cannot be read'):
        read_gesture_labels(f'class,startTime_usec,endTime_usec\n{rows}\n'.encode())


@pytest.mark.parametrize(
    ('reader', 'content', 'message'),
    [
        ('aedat2', b'', 'an unknown format, not AEDAT 2.0'),
        ('aedat2', b'#!AER-DAT2.0', 'header has no end'),
        ('aedat2', aedat2([(0, 0)])[:-1], 'truncated'),
        ('aedat2', aedat2([(1 << 20, 0)]), 'address 0x00100000 of event 0 is not one of a DVS128'),
        (
            'aedat2',
            aedat2([], '#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n'),
            'DAVIS240C, not of a DVS128',
        ),
        ('aedat2', b'#!AER-DAT4.0\r\n', 'this is AEDAT 4, not AEDAT 2.0'),
        ('aedat3', aedat2([]), 'this is AEDAT 2.0, not AEDAT 3.1'),
        ('aedat3', b'#!AER-DAT3.1\r\n', 'header has no end'),
        ('aedat3', aedat3([(1, 0, [(1, 1, 1, 1, 1)])])[:-1], 'ends within a packet'),
        ('aedat3', aedat3([])[:] + b'\1\0', 'ends within a packet header'),
        ('aedat3', aedat3([(1, 0, [(128, 0, 1, 1, 1)])]), 'column 128, row 0 is outside'),
        ('nmnist', bytes(7), '7 bytes are not a multiple of 5'),
        ('nmnist', bytes([34, 0, 0, 0, 0]), 'column 34, row 0 is outside'),
    ],
)
def test_what_is_not_of_the_format_is_refused(reader, content, message):
    with pytest.raises(EventFileError, match=message):
        READERS[reader](content)


@pytest.mark.parametrize('reader', ['aedat2', 'nmnist', 'aedat3'])
def test_a_recording_may_have_no_events(reader):
    content = {'aedat2': aedat2([]), 'aedat3': aedat3([(1, 0, [])]), 'nmnist': b''}[reader]
    events = READERS[reader](content)
    assert len(events) == 0
    assert frame_by_time(events, 3).sum() == 0


SEEDS = {
    'aedat2': aedat2([(dvs128_address(i, i, i % 2), i * 40) for i in range(40)]),
    'aedat3': aedat3([(1, 0, [(i, i, 1, 1, i * 50) for i in range(20)])] * 2),
    'nmnist': bytes(range(30)) * 5,
}


@st.composite
def damaged(draw, seed):
    """A good file with bits flipped, bytes of any kind put in, or parts missing."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        change = draw(st.sampled_from(['flip', 'insert', 'cut', 'word']))
        if change == 'flip' and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif change == 'insert':
            content[place:place] = draw(st.binary(max_size=40))
        elif change == 'cut':
            del content[place:]
        elif change == 'word':
            size = draw(st.sampled_from([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1]))
            content[place : place + 4] = struct.pack('<I', size)
    return bytes(content)


@pytest.mark.parametrize('reader', READERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_damage_is_an_error_of_its_own_and_takes_no_memory(reader, data):
    content = data.draw(st.one_of(damaged(SEEDS[reader]), st.binary(max_size=200)))
    tracemalloc.start()
    try:
        events = READERS[reader](content)
        assert isinstance(events, Events)
    except EventFileError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100 * len(content) + 2**20


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b'class,startTime_usec,endTime_usec\n' + b'1' * 5000 + b',1,2\n')
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_damaged_labels_are_an_error_of_their_own(content):
    for text in (content, b'class,startTime_usec,endTime_usec\n' + content):
        with contextlib.suppress(EventFileError):
            assert isinstance(read_gesture_labels(text), list)


# What the error says, if there is one, of real files of several cameras.
SAMPLES = {
    ('aedat2', 'aedat2_dvs128_walking.aedat'): None,
    ('aedat2', 'aedat2_dvs128_walking2.aedat'): None,
    ('aedat2', 'aedat2_matlab_rewritten_msb_set.aedat'): None,
    ('aedat2', 'tonic_aedat_header.aedat'): 'Davis346red, not of a DVS128',
    ('aedat2', 'aedat2_davis240_synthetic_bar.aedat'): 'another camera|not of a DVS128',
    ('aedat2', 'aedat2_davis240c_real_aps_imu.aedat'): 'another camera|not of a DVS128',
    ('aedat2', 'tonic_sample.aedat4'): 'this is AEDAT 4',
    ('aedat2', 'tonic_ncars.dat'): 'not AEDAT 2.0',
    ('aedat2', 'expelliarmus_evt3.raw'): 'Prophesee EVT3',
    ('aedat2', 'tonic_stmnist.mat'): 'MATLAB',
    ('aedat3', 'aedat2_dvs128_walking.aedat'): 'this is AEDAT 2.0, not AEDAT 3.1',
    ('nmnist', 'tonic_nmnist.bin'): None,
    ('nmnist', 'aedat2_dvs128_walking.aedat'): 'not a multiple of 5|outside',
    ('nmnist', 'tonic_sample.aedat4'): 'not a multiple of 5|outside',
}


@pytest.mark.parametrize(('reader', 'name'), SAMPLES)
def test_real_recordings_are_read_or_refused(real_data_dir, readers, reader, name):
    content = (real_data_dir / 'events' / 'samples' / name).read_bytes()
    error = SAMPLES[reader, name]
    if error:
        with pytest.raises(EventFileError, match=error):
            READERS[reader](content)
        return
    events = READERS[reader](content)
    if reader == 'nmnist':
        expected = readers.decode_nmnist(content)
        assert columns(events) == [column.tolist() for column in expected]
        return
    address, time = readers.read_aedat2(content)
    _, y, on, special = readers.decode_dvs128(address)
    kept = ~special
    np.testing.assert_array_equal(events.x, (address >> 1 & 127)[kept])
    np.testing.assert_array_equal(events.y, 127 - y[kept])
    np.testing.assert_array_equal(events.on, on[kept])
    np.testing.assert_array_equal(np.diff(events.t) % 2**32, np.diff(time[kept]) % 2**32)


def test_frames_are_those_of_the_authors_of_the_recordings(real_data_dir):
    """Of session A: ON minus OFF events in windows of 50 ms."""
    with np.load(real_data_dir / 'events' / 'dvs128_objects_events.npz') as file:
        recorded = {key: file[key] for key in ('addr', 'dt', 't0', 'offsets', 'label', 'session')}
    with np.load(real_data_dir / 'events' / 'dvs128_objects_frames.npz') as file:
        frames, frame_labels = file['a_frames'], file['a_label']
    correlations = []
    for i in np.flatnonzero(recorded['session'] == b'A'):
        part = slice(recorded['offsets'][i], recorded['offsets'][i + 1])
        time = recorded['t0'][i] + np.cumsum(recorded['dt'][part], dtype=np.uint32)
        stream = io.BytesIO(b'#!AER-DAT2.0\r\n')
        stream.seek(0, io.SEEK_END)
        stream.write(np.stack([recorded['addr'][part], time], 1).astype('>u4'))
        expected = frames[frame_labels == recorded['label'][i]].astype(float)
        counts = frame_by_time(read_aedat2(stream.getvalue()), len(expected), 50_000).astype(float)
        ours = counts[..., 1] - counts[..., 0]
        each = [
            np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(ours, expected, strict=True)
        ]
        correlations.append(np.median(each))
    print('median correlation of the frames of each recording', np.round(correlations, 4))
    assert len(correlations) == 7
    assert np.median(correlations) >= 0.99
