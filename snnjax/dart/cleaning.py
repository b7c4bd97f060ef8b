"""Cleaning of events before description: compensation of saccades, and a noise filter."""

from __future__ import annotations

import numpy as np

from snnjax.data.sources.event_files import Events

SACCADE = 105_000
"""The duration of each of the three saccades of N-MNIST and N-Caltech101, in microseconds."""


def stabilize_saccades(events: Events) -> Events:
    """Compensates the movement of the camera in recordings of N-MNIST and N-Caltech101.

    The camera moves along a triangle in three saccades of 105 ms each, by up to 7 columns and 7
    rows. Events that leave the camera are dropped. Source: the authors' code of DART.

    Args:
      events: the events of a recording, with times from its beginning in microseconds.
    """
    t = events.t / SACCADE
    x, y = events.x.astype(np.float64), events.y.astype(np.float64)
    x -= np.where(t <= 1, 3.5 * t, np.where(t <= 2, 3.5 * t, 7 - 7 * (t - 2)))
    y -= np.where(t <= 1, 7 * t, np.where(t <= 2, 7 - 7 * (t - 1), 0))
    x, y = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    return events.moved(x, y)


def filter_noise(events: Events, window: int) -> Events:
    """Drops events without an earlier event nearby.

    Args:
      events: the events of a recording, sorted by time.
      window: a time in microseconds. An event is kept if at least one of the 8 pixels around it had
        an event before it, at most ``window`` microseconds earlier.
    """
    row = events.width + 2
    # A border around the camera, so that pixels at opposite edges are not neighbors.
    pixel = (events.y.astype(np.int64) + 1) * row + events.x + 1
    total = len(events)
    index = np.arange(total)
    by_pixel = np.argsort(pixel * total + index)
    keys = (pixel * total + index)[by_pixel]
    kept = np.zeros(total, bool)
    for step in (-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1):
        neighbor = pixel + step
        # The latest event of the neighbor before this event, if there is one.
        found = np.searchsorted(keys, neighbor * total + index) - 1
        before = by_pixel[found]
        is_neighbor = (found >= 0) & (pixel[before] == neighbor)
        kept |= is_neighbor & (events.t - events.t[before] <= window)
    return events[kept]
