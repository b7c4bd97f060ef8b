"""Makes frames of recordings: counts of events, time surfaces or voxel grids.

Frames are uint8 on their way to the network, so values that are not whole are stored in units of a
part of one: a stored value divided by the scale of its kind is what the network gets.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from snnjax.data.sources.event_files import Events
from snnjax.data.transforms.frames import (
    bounds_by_number,
    frame_by_number,
    frame_by_time,
    in_order,
    places,
    times_of_frames,
)

SCALES = {'counts': 1.0, 'time_surface': 255.0, 'voxel_grid': 16.0}
"""Stored value of a value of 1, by the kind of frames."""


@dataclasses.dataclass(frozen=True)
class Framing:
    """Makes frames of recordings as the options of a configuration say.

    Attributes:
      num_frames: number of frames, T.
      by: 'number' for frames of equally many events, 'time' for frames of equal length.
      window: length of a frame in microseconds; 0 for a T-th of the recording.
      values: content of a frame, a key of `SCALES`.
      decay: microseconds in which a time surface falls to 1/e; 0 for the length of a frame.
      downsample: pixels of the camera each way that become one pixel of a frame.
    """

    num_frames: int
    by: str = 'number'
    window: int = 0
    values: str = 'counts'
    decay: int = 0
    downsample: int = 1

    @classmethod
    def of(cls, options: Any, num_frames: int) -> Framing:
        """Returns the framing that options say.

        Args:
          options: object with ``frames_by``, ``frame_window``, ``frame_values``, ``frame_decay``
            and ``frame_downsample``, as `snnjax.data.DataOptions`.
          num_frames: number of frames, T.
        """
        return cls(
            num_frames,
            options.frames_by,
            options.frame_window,
            options.frame_values,
            options.frame_decay,
            options.frame_downsample,
        )

    @property
    def scale(self) -> float:
        """Returns the stored value of a value of 1."""
        return SCALES[self.values]

    def __call__(self, events: Events) -> np.ndarray:
        """Returns frames, (T, H / downsample, W / downsample, 2) uint8."""
        if self.downsample > 1:
            events = downsample(events, self.downsample)
        if self.values == 'time_surface':
            return time_surfaces(events, self.num_frames, self.by, self.window, self.decay)
        if self.values == 'voxel_grid':
            return voxel_grid(events, self.num_frames, self.window)
        if self.by == 'time':
            return frame_by_time(events, self.num_frames, self.window)
        return frame_by_number(events, self.num_frames)


def downsample(events: Events, factor: int) -> Events:
    """Gives events to the pixels of a smaller camera, each in the place of several of this one.

    Args:
      events: events of a recording.
      factor: pixels each way that become one; divides the height and the width.

    Raises:
      ValueError: if it does not divide them.
    """
    if events.height % factor or events.width % factor:
        raise ValueError(
            f'pixels of {factor}x{factor} do not divide a camera of {events.height}x{events.width}'
        )
    return Events(
        events.x // np.uint16(factor),
        events.y // np.uint16(factor),
        events.on,
        events.t,
        events.height // factor,
        events.width // factor,
    )


def time_surfaces(
    events: Events, num_frames: int, by: str = 'number', window: int = 0, decay: int = 0
) -> np.ndarray:
    """Makes frames of how long ago each pixel had its last event.

    The value is ``exp(-(t - t_last) / decay)``, with t the end of the frame, and 0 if there was no
    event up to then. This is the time surface of Lagorce et al. 2017 for the whole camera.

    Args:
      events: events of a recording.
      num_frames: number of frames, T.
      by: 'number' for frames that end after equally many events each, at the last of them; 'time'
        for frames of equal length.
      window: length of frames by time in microseconds; 0 for a T-th of the recording.
      decay: microseconds; 0 for the length of a frame, on average.

    Returns:
      (T, H, W, 2) uint8, 255 times the value; channel 0 for OFF events, 1 for ON events.
    """
    events = in_order(events)
    times = times_of_frames(events, num_frames, window)
    decay = decay or max(1, int(times[-1] - times[0]) // num_frames)
    if by == 'time':
        bounds = np.searchsorted(events.t, times)
        ends = times[1:]
    else:
        bounds = bounds_by_number(len(events), num_frames)
        ends = events.t[np.maximum(bounds[1:], 1) - 1] if len(events) else times[1:]
    pixels = places(events)
    never = -(2**62)
    last = np.full(events.height * events.width * 2, never)
    frames = np.zeros((num_frames, len(last)), np.uint8)
    for frame, start, stop, end in zip(frames, bounds[:-1], bounds[1:], ends, strict=True):
        # Of events at one pixel the last one stays.
        last[pixels[start:stop]] = events.t[start:stop]
        fired = np.flatnonzero(last > never)
        values = np.exp((last[fired] - end) / np.float32(decay), dtype=np.float32)
        frame[fired] = np.rint(255 * values)
    return frames.reshape(num_frames, events.height, events.width, 2)


def voxel_grid(events: Events, num_frames: int, window: int = 0) -> np.ndarray:
    """Divides each event between the two frames nearest to its time.

    Frame k stands for one moment. An event adds ``max(0, 1 - |t - k|)`` to it, with t the time in
    units of the distance of moments (Zhu et al. 2019, but polarities have channels of their own).

    Args:
      events: events of a recording.
      num_frames: number of frames, T.
      window: microseconds between two moments, the first one being that of the first event; 0 if
        the last moment is that of the last event.

    Returns:
      (T, H, W, 2) uint8, 16 times the sums, up to 255; channel 0 for OFF events, 1 for ON events.
    """
    size = events.height * events.width * 2
    sums = np.zeros(num_frames * size)
    if len(events):
        since = events.t - events.t.min()
        step = window or max(int(since.max()), 1) / max(num_frames - 1, 1)
        moment = since / step if window or num_frames > 1 else np.zeros(len(since))
        lower = moment.astype(np.int64)
        share = moment - lower
        pixels = places(events).astype(np.int64)
        for frame, weight in ((lower, 1 - share), (lower + 1, share)):
            kept = frame < num_frames
            index = frame[kept] * size + pixels[kept]
            sums += np.bincount(index, weight[kept], minlength=len(sums))
    stored = np.minimum(np.rint(sums * SCALES['voxel_grid']), 255).astype(np.uint8)
    return stored.reshape(num_frames, events.height, events.width, 2)
