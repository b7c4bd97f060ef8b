"""The log-polar descriptor of an event: the distribution of the latest events around it.

Polarities and times are not used. Source: Ramesh et al. 2020, "DART: Distribution Aware Retinal
Transform for Event-based Cameras", and the authors' code for N-MNIST (PCA-RECT).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from snnjax.data.sources.event_files import Events

# The number of consecutive events that share a count matrix. A longer span needs fewer matrices,
# but more events enter or leave the queue within it.
_SPAN = 64


@dataclasses.dataclass(frozen=True)
class LogPolarGrid:
    """Rings and wedges around an event.

    Attributes:
      rings: the number of rings. Ring 0 extends to `inner` and the last ring to `outer`; the outer
        radii are evenly spaced in the logarithm.
      wedges: the number of wedges, even; the first begins at the angle -pi.
      inner: the outer radius of the first ring in pixels.
      outer: the outer radius of the last ring in pixels.
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
        """Returns the bins of positions relative to an event.

        Args:
          dx: array of any shape, the columns to the right of the event.
          dy: array of the same shape, the rows below the event.

        Returns:
          An int16 array, ``ring * wedges + wedge``, or -1 beyond the last ring. A ring includes its
          outer radius, and a wedge its upper angle.
        """
        edges = np.geomspace(self.inner, self.outer, self.rings)
        # A radius such as sqrt(2) * 12 may differ from an equal edge by rounding.
        radius = np.hypot(dx, dy) * (1 - 1e-12)
        ring = np.searchsorted(edges, radius, side='left')
        turn = np.arctan2(dy, dx) / (2 * np.pi)
        # The angle -pi is the same as pi, the upper angle of the last wedge.
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

    A queue has the last ``fifo`` events. Consecutive events share most of their queues. The shared
    events are stored as a count matrix over the pixels, and its window around each event is summed
    by bin. The few events that are in only some of the queues are looked up one by one.

    Args:
      x: integer array of shape (N,), the columns of the events, sorted by time.
      y: integer array of shape (N,), the rows of the events.
      shape: the rows and columns of the camera.
      grid: the rings and wedges.
      fifo: the number of events in the queue, including the event itself.
      chosen: the increasing indices of the events to describe; None for all.

    Returns:
      float32 array of shape (M, bins) with integer values. Row i describes event ``chosen[i]``,
      which is counted, too.
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
    # Padding shifts a pixel by the radius, so that its window begins at its unpadded indices.
    places = (y + radius) * padded.shape[1] + x + radius
    flat = padded.reshape(-1)
    span = _SPAN if len(chosen) * 4 >= total else 4 * _SPAN
    entered = left = 0
    for first in range(int(chosen[0]) // span * span, int(chosen[-1]) + 1, span):
        last = min(first + span, total)
        low, high = np.searchsorted(chosen, (first, last))
        if low == high:
            continue
        # The events in the queue of every event from ``first`` to ``last``.
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
    """Updates a count matrix from the range of events ``before`` to the range ``after``."""
    if after[0] >= before[1] or after[0] < before[0]:
        flat[:] = 0
        before = (after[0], after[0])
    np.add.at(flat, places[before[1] : after[1]], np.float32(1))
    np.subtract.at(flat, places[before[0] : after[0]], np.float32(1))


@functools.lru_cache(maxsize=8)
def _window_sums(grid: LogPolarGrid, radius: int) -> Any:
    """Returns the sparse matrix that sums a window of pixels by bin, (bins, pixels) float32."""
    from scipy import sparse

    side = np.arange(-radius, radius + 1)
    bins = grid.bin_of(side[None, :], side[:, None]).ravel()
    pixels = np.flatnonzero(bins >= 0)
    ones = np.ones(len(pixels), np.float32)
    return sparse.csr_matrix((ones, (bins[pixels], pixels)), shape=(grid.bins, len(bins)))


class _PairTable:
    """A table of the bins of one event around another, by the difference of their keys.

    Args:
      grid: the rings and wedges.
      height: the number of rows of the camera.
      width: the number of columns of the camera.
    """

    def __init__(self, grid: LogPolarGrid, height: int, width: int) -> None:
        self._bins = grid.bins
        self._row = 2 * width - 1
        self._middle = (height - 1) * self._row + width - 1
        self._table = _pair_table(grid, height, width)

    def keys(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Returns keys, (N,) int64; the difference of two keys gives that of the positions."""
        return y * self._row + x

    def count(
        self, keys: np.ndarray, events: np.ndarray, others: np.ndarray, fifo: int
    ) -> np.ndarray:
        """Counts events in the bins around other events, if they are in their queues.

        Args:
          keys: int64 array of shape (N,), the keys of all events.
          events: integer array of shape (B,), the indices of the events to describe.
          others: integer array of shape (P,), the indices of the events to count.
          fifo: the length of the queue.

        Returns:
          int64 array of shape (B, bins).
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
    """Returns bins by difference of positions, flat int16; an extra bin is beyond the last ring."""
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
      events: the events of a recording, sorted by time.
      grid: the rings and wedges.
      fifo: the number of latest events that describe an event, including itself.
      min_events: the index, from 1, of the first described event.
      stride: the distance between described events; 1 describes all.

    Returns:
      The descriptors, (M, rings * wedges) float32, each with a sum of 1; and the M events that they
      describe.
    """
    chosen = np.arange(min_events - 1, len(events), stride)
    counts = count_bins(events.x, events.y, (events.height, events.width), grid, fifo, chosen)
    counts /= counts.sum(axis=1, keepdims=True)
    return counts, events[chosen]
