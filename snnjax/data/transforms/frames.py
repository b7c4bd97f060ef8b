"""Events -> frames of counts, and random changes of events before that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from snnjax.data.sources.event_files import Events


def frame_by_number(events: Events, num_frames: int) -> np.ndarray:
    """Frames of equally many events each; the last has the few that are left over, too.

    Returns:
      (T, H, W, 2) uint8, events of each pixel; channel 0 is OFF, 1 is ON. More than 255 are 255.
    """
    return _count(events, bounds_by_number(len(events), num_frames))


def frame_by_time(events: Events, num_frames: int, window: int = 0) -> np.ndarray:
    """Frames of equally long each, from the first event on.

    Args:
      events: of a recording.
      num_frames: T.
      window: of a frame, in microseconds, whatever comes after the last one being left out; or 0
        for a T-th of the recording.

    Returns:
      As `frame_by_number`.
    """
    events = in_order(events)
    return _count(events, np.searchsorted(events.t, times_of_frames(events, num_frames, window)))


def in_order(events: Events) -> Events:
    """Returns the events in the order of time; those of one time stay in their order."""
    if np.all(events.t[1:] >= events.t[:-1]):
        return events
    return events[np.argsort(events.t, kind='stable')]


def bounds_by_number(total: int, num_frames: int) -> np.ndarray:
    """Returns where frames of equally many events begin, and the last ends: (T + 1,) indices."""
    # A frame for each event if there are fewer than frames.
    each = max(total // num_frames, 1)
    bounds = np.minimum(np.arange(num_frames + 1) * each, total)
    bounds[-1] = total
    return bounds


def times_of_frames(events: Events, num_frames: int, window: int = 0) -> np.ndarray:
    """Returns when frames of equal length begin, and the last ends: (T + 1,) int64, microseconds.

    Args:
      events: events of a recording, in the order of time.
      num_frames: number of frames, T.
      window: see `frame_by_time`.
    """
    first = int(events.t[0]) if len(events) else 0
    duration = int(events.t[-1]) + 1 - first if len(events) else 1
    # Whole microseconds at or after a T-th of the recording.
    ends = (k * window if window else -(-k * duration // num_frames) for k in range(num_frames + 1))
    return np.array([first + end for end in ends], np.int64)


def _count(events: Events, bounds: Sequence[int] | np.ndarray) -> np.ndarray:
    """Counts the events between bounds, as frames of uint8; see `frame_by_number`."""
    pixels = places(events)
    size = events.height * events.width * 2
    frames = np.empty((len(bounds) - 1, size), np.uint8)
    # One frame after the other: its counts stay in the cache.
    for frame, start, stop in zip(frames, bounds[:-1], bounds[1:], strict=True):
        counts = np.bincount(pixels[start:stop], minlength=size)
        np.minimum(counts, 255, out=frame, casting='unsafe')
    return frames.reshape(-1, events.height, events.width, 2)


def places(events: Events) -> np.ndarray:
    """Returns the indices of events in a flat (H, W, 2) array, (N,) uint16 or int64."""
    # Two bytes an event are read fastest; 128x128 pixels and two polarities just fit.
    fits = events.height * events.width * 2 <= 2**16
    dtype = np.uint16 if fits else np.int64
    index: np.ndarray = events.y.astype(dtype)
    index *= 2 * events.width
    for part in (events.x, events.x, events.on):
        index += part.astype(dtype, copy=False)
    return index


@dataclasses.dataclass(frozen=True)
class EventAugmentation:
    """Random changes of a recording; an event that leaves the camera is gone.

    Attributes:
      flip: mirror left to right with probability one half.
      shift: columns and rows that it is moved by at most, each way.
      crop_scale: take a window of this share of the area, or more, and of the camera's shape, to
        the whole camera; 1 for none.
      drop: share of the events that is left out at most, drawn anew for each recording (EventDrop
        of Gu et al. 2021, at random).
    """

    flip: bool = False
    shift: int = 0
    crop_scale: float = 1.0
    drop: float = 0.0

    @property
    def keeps_frames(self) -> bool:
        """Returns whether a changed recording has the same frames, except for mirroring."""
        return not (self.shift or self.drop) and self.crop_scale == 1

    def draw_flip(self, rng: np.random.Generator) -> bool:
        """Draws whether a recording is mirrored."""
        return self.flip and rng.random() < 0.5

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """The changed events."""
        x, y = events.x.astype(np.int64), events.y.astype(np.int64)
        if self.draw_flip(rng):
            x = events.width - 1 - x
        if self.crop_scale < 1:
            side = np.sqrt(rng.uniform(self.crop_scale, 1))
            x = _zoom(x, events.width, side, rng)
            y = _zoom(y, events.height, side, rng)
        if self.shift:
            columns, rows = rng.integers(-self.shift, self.shift, 2, endpoint=True)
            x, y = x + columns, y + rows
        drop = rng.random(len(events)) < rng.uniform(0, self.drop) if self.drop else None
        return events.moved(x, y, drop)


def _zoom(x: np.ndarray, size: int, side: float, rng: np.random.Generator) -> np.ndarray:
    """Places in a window of ``side * size`` pixels somewhere, enlarged to ``size``."""
    start = rng.uniform(0, size * (1 - side))
    return np.floor((x + 0.5 - start) / side).astype(np.int64)
