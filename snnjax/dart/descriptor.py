"""The log-polar descriptor of an event: where the latest events lie around it.

Source: Ramesh et al. 2020, "DART: Distribution Aware Retinal Transform for Event-based Cameras",
and the authors' code for N-MNIST (PCA-RECT). Polarities and times are not used.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from snnjax.data.sources.event_files import Events

# Described together; more of them share a count matrix, but then more events differ from it.
_SPAN = 64


@dataclasses.dataclass(frozen=True)
class LogPolarGrid:
    """Rings and wedges around an event.

    Attributes:
      rings: number of rings. Ring 0 reaches to `inner`, the last one to `outer`, and the outer
        radii are evenly spaced in the logarithm.
      wedges: number of wedges, even; the first begins at the angle -pi.
      inner: outer radius of the first ring in pixels.
      outer: outer radius of the last ring in pixels.
    """

    rings: int
    wedges: int
    inner: float
    outer: float

    @property
    def bins(self) -> int:
        """Returns the length of a descriptor."""
        return self.rings * self.wedges

    def bin_of(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Returns the bins of places relative to an event.

        Args:
          dx: columns to the right, in pixels, of any shape.
          dy: rows downwards, likewise.

        Returns:
          ``ring * wedges + wedge``, int16; -1 for places beyond the last ring. An outer radius
          belongs to its ring, and the upper angle to its wedge.
        """
        edges = np.geomspace(self.inner, self.outer, self.rings)
        # Radii such as sqrt(2) * 12 and an edge of the same length differ by their rounding.
        radius = np.hypot(dx, dy) * (1 - 1e-12)
        ring = np.searchsorted(edges, radius, side='left')
        turn = np.arctan2(dy, dx) / (2 * np.pi)
        # An angle of -pi ends the last wedge: it is that of pi.
        wedge = (np.ceil(self.wedges * turn).astype(int) + self.wedges // 2 - 1) % self.wedges
        bins = ring * self.wedges + wedge
        return np.where(ring < self.rings, bins, -1).astype(np.int16)


def count_bins(
    x: np.ndarray,
    y: np.ndarray,
    shape: tuple[int, int],
    grid: LogPolarGrid,
    fifo: int,
    chosen: np.ndarray | None = None,
) -> np.ndarray:
    """Counts the latest events in the bins around each event.

    A queue keeps the last ``fifo`` events. Most events of the queue are the same for neighbors in
    time: they are kept as a count matrix, whose window around an event is summed by bin. The few
    that enter or leave meanwhile are looked up one by one.

    Args:
      x: columns of the events, (N,) integers, in the order of time.
      y: rows of the events, likewise.
      shape: rows and columns of the camera.
      grid: the rings and wedges.
      fifo: number of events in the queue, the event itself included.
      chosen: indices of the events to describe, increasing; None for all.

    Returns:
      (M, bins) float32, whole numbers: row i is for event ``chosen[i]``, which counts itself.
    """
    total = len(x)
    chosen = np.arange(total) if chosen is None else np.asarray(chosen)
    counts = np.zeros((len(chosen), grid.bins), np.float32)
    if not len(chosen):
        return counts
    radius = int(grid.outer)
    sums = _window_sums(grid, radius)
    height, width = shape
    padded = np.zeros((height + 2 * radius, width + 2 * radius), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    pairs = _PairTable(grid, height, width)
    x, y = x.astype(np.intp), y.astype(np.intp)
    keys = pairs.keys(x, y)
    # Padding moves a pixel by the radius, so that its window begins at the pixel's own indices.
    places = (y + radius) * padded.shape[1] + x + radius
    flat = padded.reshape(-1)
    span = _SPAN if len(chosen) * 4 >= total else 4 * _SPAN
    entered = left = 0
    for first in range(int(chosen[0]) // span * span, int(chosen[-1]) + 1, span):
        last = min(first + span, total)
        low, high = np.searchsorted(chosen, (first, last))
        if low == high:
            continue
        # What is in the queue of every event from ``first`` to ``last``.
        shared = max(0, min(first, last - fifo)), first
        _move(flat, places, (left, entered), shared)
        left, entered = shared
        events = chosen[low:high]
        seen = windows[y[events], x[events]].reshape(len(events), -1)
        block = sums @ np.ascontiguousarray(seen.T)
        counts[low:high] = block.T
        oldest = max(0, first - fifo + 1)
        others = np.concatenate([np.arange(oldest, shared[0]), np.arange(first, last)])
        counts[low:high] += pairs.count(keys, events, others, fifo)
    return counts


def _move(
    flat: np.ndarray, places: np.ndarray, before: tuple[int, int], after: tuple[int, int]
) -> None:
    """Makes a count matrix of the events ``before`` one of the events ``after``, both ranges."""
    if after[0] >= before[1] or after[0] < before[0]:
        flat[:] = 0
        before = (after[0], after[0])
    np.add.at(flat, places[before[1] : after[1]], np.float32(1))
    np.subtract.at(flat, places[before[0] : after[0]], np.float32(1))


@functools.lru_cache(maxsize=8)
def _window_sums(grid: LogPolarGrid, radius: int) -> Any:
    """Returns what sums a window of pixels by bin: sparse (bins, pixels) float32."""
    from scipy import sparse

    side = np.arange(-radius, radius + 1)
    bins = grid.bin_of(side[None, :], side[:, None]).ravel()
    pixels = np.flatnonzero(bins >= 0)
    ones = np.ones(len(pixels), np.float32)
    return sparse.csr_matrix((ones, (bins[pixels], pixels)), shape=(grid.bins, len(bins)))


class _PairTable:
    """Bins of one event as seen from another, by the difference of their keys.

    Args:
      grid: the rings and wedges.
      height: rows of the camera.
      width: columns of the camera.
    """

    def __init__(self, grid: LogPolarGrid, height: int, width: int) -> None:
        self._bins = grid.bins
        self._row = 2 * width - 1
        self._middle = (height - 1) * self._row + width - 1
        self._table = _pair_table(grid, height, width)

    def keys(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Returns integers whose differences tell the differences of places, (N,) int64."""
        return y * self._row + x

    def count(
        self, keys: np.ndarray, events: np.ndarray, others: np.ndarray, fifo: int
    ) -> np.ndarray:
        """Counts those of some events that are in the queues of others, by bin.

        Args:
          keys: keys of all events.
          events: indices of the events to describe, (B,).
          others: indices of the events to count, (P,).
          fifo: length of the queue.

        Returns:
          (B, bins) int64.
        """
        difference = keys[others] - keys[events, None]
        difference += self._middle
        bins = self._table.take(difference).astype(np.intp)
        age = events[:, None] - others
        bins[(age < 0) | (age >= fifo)] = self._bins
        bins += np.arange(len(events))[:, None] * (self._bins + 1)
        counts = np.bincount(bins.ravel(), minlength=len(events) * (self._bins + 1))
        return counts.reshape(len(events), -1)[:, : self._bins]


@functools.lru_cache(maxsize=2)
def _pair_table(grid: LogPolarGrid, height: int, width: int) -> np.ndarray:
    """Bins by difference of places, flat int16; beyond the last ring, a bin that is left out."""
    table = np.full((2 * height - 1, 2 * width - 1), grid.bins, np.int16)
    rows, columns = (min(int(grid.outer), side - 1) for side in (height, width))
    dy, dx = np.arange(-rows, rows + 1), np.arange(-columns, columns + 1)
    bins = grid.bin_of(dx[None, :], dy[:, None])
    near = np.s_[height - 1 - rows : height + rows, width - 1 - columns : width + columns]
    table[near] = np.where(bins < 0, grid.bins, bins)
    return table.ravel()


def describe(
    events: Events, grid: LogPolarGrid, *, fifo: int, min_events: int = 1, stride: int = 1
) -> tuple[np.ndarray, Events]:
    """Describes events by the distribution of the latest events around them.

    Args:
      events: events of a recording, in the order of time.
      grid: the rings and wedges.
      fifo: number of latest events that describe an event, itself included.
      min_events: index, from 1, of the first event that is described.
      stride: every so many events are described.

    Returns:
      The descriptors, (M, rings * wedges) float32, each with a sum of 1; and the events that they
      describe.
    """
    chosen = np.arange(min_events - 1, len(events), stride)
    counts = count_bins(events.x, events.y, (events.height, events.width), grid, fifo, chosen)
    counts /= counts.sum(axis=1, keepdims=True)
    return counts, events[chosen]
