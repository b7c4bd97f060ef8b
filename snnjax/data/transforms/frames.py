"""Events -> frames, and random changes of events before that."""

from __future__ import annotations

import dataclasses

import numpy as np

from snnjax.data.sources.event_files import Events


def frame_by_number(events: Events, num_frames: int) -> np.ndarray:
    """Frames of equally many events each; the last has the few that are left over, too.

    Returns:
      (T, H, W, 2) uint8, events of each pixel; channel 0 is OFF, 1 is ON. More than 255 are 255.
    """
    each = len(events) // num_frames
    frame = np.minimum(np.arange(len(events)) // max(each, 1), num_frames - 1)
    return _accumulate(events, frame, num_frames)


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
    since = events.t - (events.t.min() if len(events) else 0)
    if window:
        frame = since // window
    else:
        duration = int(since.max()) + 1 if len(events) else 1
        frame = since * num_frames // duration
    kept = frame < num_frames
    return _accumulate(events[kept], frame[kept], num_frames)


def _accumulate(events: Events, frame: np.ndarray, num_frames: int) -> np.ndarray:
    shape = (num_frames, events.height, events.width, 2)
    place = np.ravel_multi_index(
        (frame, events.y.astype(np.intp), events.x.astype(np.intp), events.on.astype(np.intp)),
        shape,
    )
    counts = np.bincount(place, minlength=num_frames * events.height * events.width * 2)
    return np.minimum(counts, 255).astype(np.uint8).reshape(shape)


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
        kept = (x >= 0) & (x < events.width) & (y >= 0) & (y < events.height)
        if self.drop:
            kept &= rng.random(len(events)) >= rng.uniform(0, self.drop)
        return Events(
            x[kept].astype(np.uint16),
            y[kept].astype(np.uint16),
            events.on[kept],
            events.t[kept],
            events.height,
            events.width,
        )


def _zoom(x: np.ndarray, size: int, side: float, rng: np.random.Generator) -> np.ndarray:
    """Places in a window of ``side * size`` pixels somewhere, enlarged to ``size``."""
    start = rng.uniform(0, size * (1 - side))
    return np.floor((x + 0.5 - start) / side).astype(np.int64)
