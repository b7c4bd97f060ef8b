"""Other values of frames than counts, against slow statements of them, one event at a time."""

import dataclasses

import numpy as np
import pytest

from snnjax.data.options import FRAME_VALUES
from snnjax.data.sources.event_files import Events
from snnjax.data.transforms.frames import frame_by_number, frame_by_time
from snnjax.data.transforms.framing import (
    SCALES,
    Framing,
    downsample,
    time_surfaces,
    voxel_grid,
)


def random_events(number, height=6, width=8, seed=0, duration=9000):
    rng = np.random.default_rng(seed)
    return Events(
        rng.integers(0, width, number).astype(np.uint16),
        rng.integers(0, height, number).astype(np.uint16),
        rng.random(number) < 0.5,
        1000 + np.sort(rng.integers(0, duration, number)),
        height,
        width,
    )


def each(events):
    columns = (events.x, events.y, events.on, events.t)
    return [tuple(map(int, event)) for event in zip(*columns, strict=True)]


def slow_surfaces(events, ends, stops, decay):
    frames = np.zeros((len(ends), events.height, events.width, 2))
    for frame, end, stop in zip(frames, ends, stops, strict=True):
        # Later events of a pixel replace earlier ones.
        for x, y, on, t in each(events)[:stop]:
            frame[y, x, on] = np.exp(-(end - t) / decay)
    return frames


def test_surfaces_of_frames_of_equally_many_events_end_with_their_last_event():
    events = random_events(83)
    t = events.t
    ends, stops = [t[19], t[39], t[59], t[82]], [20, 40, 60, 83]
    for decay, used in ((500, 500), (0, (t[-1] + 1 - t[0]) // 4)):
        frames = time_surfaces(events, 4, decay=decay)
        assert frames.dtype == np.uint8
        slow = slow_surfaces(events, ends, stops, used)
        np.testing.assert_allclose(frames / 255, slow, atol=0.5001 / 255)
    assert frames.max() == 255


@pytest.mark.parametrize('window', [0, 1700])
def test_surfaces_of_frames_of_equal_length_end_with_the_frame(window):
    events = random_events(83)
    t, first = events.t, events.t[0]
    duration = t[-1] + 1 - first
    ends = [first + (window * k if window else -(-duration * k // 4)) for k in range(1, 5)]
    stops = [int((t < end).sum()) for end in ends]
    frames = time_surfaces(events, 4, by='time', window=window, decay=900)
    slow = slow_surfaces(events, ends, stops, 900)
    np.testing.assert_allclose(frames / 255, slow, atol=0.5001 / 255)


@pytest.mark.parametrize('window', [0, 1700])
def test_voxels_share_events_by_their_distance_in_time(window):
    events = random_events(200)
    step = window or (events.t[-1] - events.t[0]) / 3
    slow = np.zeros((4, 6, 8, 2))
    for x, y, on, t in each(events):
        for k in range(4):
            slow[k, y, x, on] += max(0, 1 - abs((t - events.t[0]) / step - k))
    frames = voxel_grid(events, 4, window)
    np.testing.assert_allclose(frames / 16, slow, atol=0.5001 / 16)
    if not window:
        assert slow.sum() == pytest.approx(200)


def test_voxels_of_one_frame_are_counts():
    events = random_events(100)
    np.testing.assert_array_equal(voxel_grid(events, 1) // 16, frame_by_number(events, 1))


def test_more_than_sixteen_events_of_a_voxel_are_255():
    same = random_events(1)[np.zeros(40, int)]
    assert voxel_grid(same, 2).max() == 255


@pytest.mark.parametrize('values', FRAME_VALUES)
def test_the_order_of_the_file_does_not_count_for_frames_by_time(values):
    events = random_events(120)
    events = dataclasses.replace(events, t=np.arange(120) * 7)
    mixed = events[np.random.default_rng(1).permutation(120)]
    make = Framing(5, 'time', values=values)
    np.testing.assert_array_equal(make(mixed), make(events))


@pytest.mark.parametrize('values', FRAME_VALUES)
@pytest.mark.parametrize('number', [0, 1, 3])
def test_few_events_make_all_frames(values, number):
    for by in ('number', 'time'):
        frames = Framing(5, by, values=values)(random_events(number))
        assert frames.shape == (5, 6, 8, 2)
        assert frames.any() == (number > 0)


def test_smaller_frames_have_the_events_of_all_their_pixels():
    events = random_events(300)
    for make in (Framing(3, 'number', downsample=2), Framing(3, 'time', 2000, downsample=2)):
        whole = dataclasses.replace(make, downsample=1)(events).astype(int)
        expected = whole.reshape(3, 3, 2, 4, 2, 2).sum((2, 4))
        np.testing.assert_array_equal(make(events), expected)
    with pytest.raises(ValueError, match='factor=4 must divide both sides of the camera, 6x8'):
        downsample(events, 4)


def test_frames_are_those_of_each_kind():
    events = random_events(300)
    for make, expected in (
        (Framing(3), frame_by_number(events, 3)),
        (Framing(3, 'time', 2000), frame_by_time(events, 3, 2000)),
        (Framing(3, 'time', 2000, 'time_surface', 70), time_surfaces(events, 3, 'time', 2000, 70)),
        (Framing(3, 'number', 0, 'time_surface'), time_surfaces(events, 3)),
        (Framing(3, 'time', 2000, 'voxel_grid'), voxel_grid(events, 3, 2000)),
    ):
        np.testing.assert_array_equal(make(events), expected)
        assert make.scale == SCALES[make.values]
    assert tuple(SCALES) == FRAME_VALUES


def test_counts_of_a_large_camera():
    """More pixels than 16 bits tell apart."""
    events = random_events(500, height=200, width=300)
    slow = np.zeros((2, 200, 300, 2), int)
    for i, (x, y, on, _) in enumerate(each(events)):
        slow[i // 250, y, x, on] += 1
    np.testing.assert_array_equal(frame_by_number(events, 2), slow)
