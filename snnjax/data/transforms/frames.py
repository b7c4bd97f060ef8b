"""Frames of event counts, and the random augmentation of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from snnjax.data.sources.event_files import Events


def frame_by_number(events: Events, num_frames: int) -> np.ndarray:
    """Makes frames of equally many events; the last frame also has the remainder.

    Args:
      events: the events of a recording.
      num_frames: the number of frames, T.

    Returns:
      uint8 array of shape (T, H, W, 2), the number of events at each pixel, clipped to 255. Channel
      0 is for OFF events, channel 1 for ON events.
    """
    return _count(events, bounds_by_number(len(events), num_frames))


def frame_by_time(events: Events, num_frames: int, window: int = 0) -> np.ndarray:
    """Makes frames of equal length, starting at the first event.

    Args:
      events: the events of a recording.
      num_frames: the number of frames, T.
      window: the length of a frame in microseconds; events after the last frame are dropped. 0
        divides the whole recording into T frames.

    Returns:
      The same kind of array as `frame_by_number`.
    """
    events = in_order(events)
    return _count(events, np.searchsorted(events.t, times_of_frames(events, num_frames, window)))


def in_order(events: Events) -> Events:
    """Returns the events sorted by time; events with the same time keep their order."""
    if np.all(events.t[1:] >= events.t[:-1]):
        return events
    return events[np.argsort(events.t, kind='stable')]


def bounds_by_number(total: int, num_frames: int) -> np.ndarray:
    """Returns the first event of each frame of equally many events, and the end of the last frame.

    Args:
      total: the number of events.
      num_frames: the number of frames, T.

    Returns:
      An integer array of shape (T + 1,), indices of events.
    """
    # Fewer events than frames: one event per frame, and the last frames are empty.
    each = max(total // num_frames, 1)
    bounds = np.minimum(np.arange(num_frames + 1) * each, total)
    bounds[-1] = total
    return bounds


def times_of_frames(events: Events, num_frames: int, window: int = 0) -> np.ndarray:
    """Returns the start of each frame of equal length, and the end of the last frame.

    Args:
      events: the events of a recording, sorted by time.
      num_frames: the number of frames, T.
      window: the length of a frame in microseconds, as in `frame_by_time`.

    Returns:
      int64 array of shape (T + 1,), microseconds.
    """
    first = int(events.t[0]) if len(events) else 0
    duration = int(events.t[-1]) + 1 - first if len(events) else 1
    # Fractions of the recording are rounded up to whole microseconds.
    ends = (k * window if window else -(-k * duration // num_frames) for k in range(num_frames + 1))
    return np.array([first + end for end in ends], np.int64)


def _count(events: Events, bounds: Sequence[int] | np.ndarray) -> np.ndarray:
    """Counts the events between consecutive bounds; the result is as that of `frame_by_number`."""
    pixels = places(events)
    size = events.height * events.width * 2
    frames = np.empty((len(bounds) - 1, size), np.uint8)
    # Frame by frame, so that the counts stay in the cache.
    for frame, start, stop in zip(frames, bounds[:-1], bounds[1:], strict=True):
        counts = np.bincount(pixels[start:stop], minlength=size)
        np.minimum(counts, 255, out=frame, casting='unsafe')
    return frames.reshape(-1, events.height, events.width, 2)


def places(events: Events) -> np.ndarray:
    """Returns the index of each event in a flat (H, W, 2) array, (N,) uint16 or int64."""
    # Two bytes per event are fastest to read; 128x128 pixels with two polarities just fit.
    fits = events.height * events.width * 2 <= 2**16
    dtype = np.uint16 if fits else np.int64
    index: np.ndarray = events.y.astype(dtype)
    index *= 2 * events.width
    for part in (events.x, events.x, events.on):
        index += part.astype(dtype, copy=False)
    return index


@dataclasses.dataclass(frozen=True)
class EventAugmentation:
    """Random changes of a recording; events that leave the camera are dropped.

    Attributes:
      flip: true to mirror left to right with probability one half.
      shift: the largest shift in pixels, horizontal or vertical.
      crop_scale: the smallest share of the area that a random window covers. The window has the
        aspect ratio of the camera and is enlarged to its size; 1 for no cropping.
      drop: the largest share of the events that is dropped at random; the share is drawn for each
        recording (EventDrop of Gu et al. 2021, random drop).
    """

    flip: bool = False
    shift: int = 0
    crop_scale: float = 1.0
    drop: float = 0.0

    @property
    def keeps_frames(self) -> bool:
        """Returns true if the frames of a changed recording are the same up to mirroring."""
        return not (self.shift or self.drop) and self.crop_scale == 1

    def draw_flip(self, rng: np.random.Generator) -> bool:
        """Draws the decision to mirror a recording."""
        return self.flip and rng.random() < 0.5

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Returns the changed events; ``rng`` draws the changes."""
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
    """Enlarges a random window of ``side * size`` pixels to ``size``; returns the new positions."""
    start = rng.uniform(0, size * (1 - side))
    return np.floor((x + 0.5 - start) / side).astype(np.int64)
