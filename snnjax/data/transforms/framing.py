"""Frames of event recordings: event counts, time surfaces or voxel grids.

Frames are stored as uint8. A stored value is the value times the scale of its kind, so that
fractions can be stored; the network gets the stored value divided by the scale.
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
"""The stored value that represents 1, by kind of frame."""


@dataclasses.dataclass(frozen=True)
class Framing:
    """A conversion of event recordings to frames.

    Attributes:
      num_frames: the number of frames, T.
      by: the way to divide a recording: 'number' for frames of equally many events, 'time' for
        frames of equal length.
      window: the length of a frame in microseconds; 0 divides the whole recording into T frames.
      values: the content of a frame, a key of `SCALES`.
      decay: the time in which a time surface decays to 1/e, in microseconds; 0 for the length of a
        frame.
      downsample: the side, in pixels of the camera, of the square that becomes one pixel.
    """

    num_frames: int
    by: str = 'number'
    window: int = 0
    values: str = 'counts'
    decay: int = 0
    downsample: int = 1

    @classmethod
    def of(cls, options: Any, num_frames: int) -> Framing:
        """Builds the framing from the options of a configuration.

        Args:
          options: an object with ``frames_by``, ``frame_window``, ``frame_values``,
            ``frame_decay`` and ``frame_downsample``, such as `snnjax.data.DataOptions`.
          num_frames: the number of frames, T.
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
        """Returns the stored value that represents 1."""
        return SCALES[self.values]

    def __call__(self, events: Events) -> np.ndarray:
        """Returns the frames of a recording, (T, H / downsample, W / downsample, 2) uint8."""
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
    """Converts events to those of a smaller camera, by merging squares of pixels.

    Args:
      events: the events of a recording.
      factor: the side of a square in pixels, a divisor of the height and the width.

    Raises:
      ValueError: if ``factor`` does not divide the height and the width.
    """
    if events.height % factor or events.width % factor:
        raise ValueError(
            f'factor={factor} must divide both sides of the camera, {events.height}x{events.width}'
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
    """Makes time surfaces, which decay with the time since the last event of each pixel.

    The value is ``exp(-(t - t_last) / decay)``, with t the end of the frame, and 0 if the pixel has
    had no event yet. This is the time surface of Lagorce et al. 2017 for the whole camera.

    Args:
      events: the events of a recording.
      num_frames: the number of frames, T.
      by: the way to divide the recording: 'number' for frames of equally many events, each ending
        at its last event; 'time' for frames of equal length.
      window: the length of frames by time in microseconds; 0 divides the whole recording into T
        frames.
      decay: the time in which a value decays to 1/e, in microseconds; 0 for the average length of a
        frame.

    Returns:
      uint8 array of shape (T, H, W, 2), 255 times the value. Channel 0 is for OFF events, channel 1
      for ON events.
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
        # The last event at a pixel wins.
        last[pixels[start:stop]] = events.t[start:stop]
        fired = np.flatnonzero(last > never)
        values = np.exp((last[fired] - end) / np.float32(decay), dtype=np.float32)
        frame[fired] = np.rint(255 * values)
    return frames.reshape(num_frames, events.height, events.width, 2)


def voxel_grid(events: Events, num_frames: int, window: int = 0) -> np.ndarray:
    """Makes voxel grids, which divide each event between the two frames nearest in time.

    Frame k represents one moment. An event at time t adds ``max(0, 1 - |t - k|)`` to it, with t in
    units of the distance between moments. Source: Zhu et al. 2019, but here the polarities have
    separate channels.

    Args:
      events: the events of a recording.
      num_frames: the number of frames, T.
      window: the distance between two moments in microseconds; the first moment is that of the
        first event. 0 puts the last moment at the last event.

    Returns:
      uint8 array of shape (T, H, W, 2), 16 times the sums, clipped to 255. Channel 0 is for OFF
      events, channel 1 for ON events.
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
