import numpy as np
import pytest

from snnjax.data.sources.event_files import Events
from snnjax.data.transforms.frames import EventAugmentation, frame_by_number, frame_by_time


def make_events(x, y=None, on=None, t=None, height=6, width=8):
    number = len(x)
    return Events(
        np.asarray(x, np.uint16),
        np.zeros(number, np.uint16) if y is None else np.asarray(y, np.uint16),
        np.ones(number, bool) if on is None else np.asarray(on, bool),
        np.arange(number, dtype=np.int64) if t is None else np.asarray(t, np.int64),
        height,
        width,
    )


def random_events(number=500, seed=0, **shape):
    rng = np.random.default_rng(seed)
    height, width = shape.get('height', 6), shape.get('width', 8)
    return make_events(
        rng.integers(0, width, number),
        rng.integers(0, height, number),
        rng.integers(0, 2, number),
        np.sort(rng.integers(0, 10**6, number)),
        **shape,
    )


def test_a_frame_has_its_events_at_their_pixels():
    events = make_events([1, 1, 7, 2], [0, 0, 5, 3], [True, True, True, False], [5, 6, 7, 8])
    frames = frame_by_time(events, 1)
    assert (frames.shape, frames.dtype) == ((1, 6, 8, 2), np.uint8)
    assert frames[0, 0, 1].tolist() == [0, 2]
    assert frames[0, 5, 7].tolist() == [0, 1]
    assert frames[0, 3, 2].tolist() == [1, 0]
    assert frames.sum() == 4


def test_frames_of_equally_many_events_as_the_paper_counts_them():
    """Fang et al. 2021, eq. 14: N // T events each, the last frame with the rest."""
    frames = frame_by_number(random_events(23), 4)
    assert frames.sum((1, 2, 3)).tolist() == [5, 5, 5, 8]


def test_frames_of_equal_length_begin_with_the_first_event():
    events = make_events([0] * 5, t=[100, 109, 110, 119, 139])
    assert frame_by_time(events, 4).sum((1, 2, 3)).tolist() == [2, 2, 0, 1]
    assert frame_by_time(events, 3, window=10).sum((1, 2, 3)).tolist() == [2, 2, 0]
    assert frame_by_time(events, 6, window=10).sum((1, 2, 3)).tolist() == [2, 2, 0, 1, 0, 0]


@pytest.mark.parametrize('number', [0, 1, 3])
def test_few_events_make_all_frames(number):
    events = make_events([0] * number)
    for frames in (frame_by_number(events, 5), frame_by_time(events, 5)):
        assert frames.shape == (5, 6, 8, 2)
        assert frames.sum() == number


def test_counts_end_at_255():
    assert frame_by_number(make_events([3] * 300), 1).max() == 255


def test_no_augmentation_changes_nothing():
    events = random_events()
    changed = EventAugmentation()(events, np.random.default_rng(0))
    for name in ('x', 'y', 'on', 't'):
        np.testing.assert_array_equal(getattr(changed, name), getattr(events, name))


def test_flips_half_of_the_recordings():
    events = random_events()
    flipped = 0
    for seed in range(200):
        x = EventAugmentation(flip=True)(events, np.random.default_rng(seed)).x
        flipped += np.array_equal(x, 7 - events.x)
        assert np.array_equal(x, 7 - events.x) or np.array_equal(x, events.x)
    assert 70 < flipped < 130


def test_shifts_all_events_alike_and_loses_those_outside():
    events = random_events()
    shifts = set()
    for seed in range(200):
        changed = EventAugmentation(shift=2)(events, np.random.default_rng(seed))
        before = frame_by_time(events, 1)[0]
        after = frame_by_time(changed, 1)[0]
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                expected = np.zeros_like(before)
                expected[max(dy, 0) : 6 + min(dy, 0), max(dx, 0) : 8 + min(dx, 0)] = before[
                    max(-dy, 0) : 6 - max(dy, 0), max(-dx, 0) : 8 - max(dx, 0)
                ]
                if np.array_equal(after, expected):
                    shifts.add((dy, dx))
    assert len(shifts) == 25


def test_crops_are_enlarged_to_the_camera():
    events = random_events(20_000, height=40, width=60)
    for seed in range(20):
        changed = EventAugmentation(crop_scale=0.25)(events, np.random.default_rng(seed))
        share = len(changed) / len(events)
        assert 0.2 < share <= 1
        # All of the camera has events, whatever part they come from.
        assert np.ptp(changed.x) >= 56
        assert np.ptp(changed.y) >= 37


def test_drops_up_to_a_share_of_the_events():
    events = random_events(5000)
    shares = [
        len(EventAugmentation(drop=0.5)(events, np.random.default_rng(seed))) / 5000
        for seed in range(100)
    ]
    assert 0.48 < min(shares) < 0.55
    assert 0.95 < max(shares) <= 1
    assert 0.7 < np.mean(shares) < 0.8
