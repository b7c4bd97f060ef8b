"""Cleans events before they are described: takes saccades back and leaves noise out."""

from __future__ import annotations

import numpy as np

from snnjax.data.sources.event_files import Events

SACCADE = 105_000
"""Microseconds that each of the three saccades of N-MNIST and N-Caltech101 takes."""


def stabilize_saccades(events: Events) -> Events:
    """Takes back the movement of the camera in recordings of N-MNIST and N-Caltech101.

    The camera moves in three saccades of 105 ms each along a triangle, by up to 3.5 columns and 7
    rows. Events that leave the camera are left out. Source: the authors' code of DART.

    Args:
      events: events of a recording, with times from its beginning, in microseconds.
    """
    t = events.t / SACCADE
    x, y = events.x.astype(np.float64), events.y.astype(np.float64)
    x -= np.where(t <= 1, 3.5 * t, np.where(t <= 2, 3.5 * t, 7 - 7 * (t - 2)))
    y -= np.where(t <= 1, 7 * t, np.where(t <= 2, 7 - 7 * (t - 1), 0))
    x, y = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    return events.moved(x, y)


def filter_noise(events: Events, window: int) -> Events:
    """Leaves out events that no neighbor has announced.

    Args:
      events: events of a recording, in the order of time.
      window: microseconds. An event is kept if at least one of the 8 pixels around it has had an
        event before it, at most so long ago.
    """
    row = events.width + 2
    # A border around the camera, so that no pixel has neighbors on the other side of it.
    pixel = (events.y.astype(np.int64) + 1) * row + events.x + 1
    total = len(events)
    index = np.arange(total)
    by_pixel = np.argsort(pixel * total + index)
    keys = (pixel * total + index)[by_pixel]
    kept = np.zeros(total, bool)
    for step in (-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1):
        neighbor = pixel + step
        # The last event of the neighbor before this one, if there is any.
        found = np.searchsorted(keys, neighbor * total + index) - 1
        before = by_pixel[found]
        is_neighbor = (found >= 0) & (pixel[before] == neighbor)
        kept |= is_neighbor & (events.t - events.t[before] <= window)
    return events[kept]
