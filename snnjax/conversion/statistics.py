"""Exact statistics of activations that arrive batch by batch and are not stored."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass
class LargestValues:
    """The largest values of each group, as many as a percentile needs.

    A group is a layer, or a channel of it.

    Attributes:
      groups: the number of groups.
      total: the number of values per group that will arrive.
      percentile: the percentile to compute, above 0 and at most 100.
      nonzero: True to leave out zeros.
    """

    groups: int
    total: int
    percentile: float
    nonzero: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f'percentile={self.percentile} must be above 0 and at most 100')
        # Without zeros there are fewer values, and the percentile needs fewer of them.
        below = math.floor((self.total - 1) * self.percentile / 100)
        self._kept = self.total - max(below - 1, 0)
        self._values = [np.empty(0, np.float32) for _ in range(self.groups)]
        self._counts = [0] * self.groups

    def add(self, values: np.ndarray) -> None:
        """Adds values of shape (n, groups)."""
        for group, column in enumerate(values.T):
            if self.nonzero:
                column = column[column != 0]
            self._counts[group] += column.size
            kept = self._values[group]
            if kept.size == self._kept:
                column = column[column > kept.min()]
            merged = np.concatenate([kept, column])
            if merged.size > self._kept:
                merged = np.partition(merged, merged.size - self._kept)[-self._kept :]
            self._values[group] = merged

    def result(self) -> np.ndarray:
        """Returns the percentile of each group, (groups,), as `numpy.percentile` defines it.

        A group without values has the percentile 0.
        """
        return np.array([self._percentile(group) for group in range(self.groups)])

    def _percentile(self, group: int) -> float:
        count = self._counts[group]
        if not count:
            return 0.0
        values = np.sort(self._values[group])
        position = (count - 1) * self.percentile / 100
        below = math.floor(position)
        # Indices count from the end, since the smallest values are not kept.
        low = float(values[below - count])
        high = float(values[min(below + 1, count - 1) - count])
        return low + (high - low) * (position - below)


@dataclasses.dataclass
class FloorErrors:
    """The squared errors of activations in T steps, summed for a series of thresholds.

    Activations ``x`` are compared with ``theta / T * floor(clip(T * x / theta, 0, T))``, which is
    the mean output of a neuron that starts at 0 (Li et al. 2021, minimal mean squared error).

    Attributes:
      largest: the largest value of each group, of shape (groups,).
      num_steps: the number of time steps T.
      shares: the thresholds to try, as shares of the largest value.
    """

    largest: np.ndarray
    num_steps: int
    shares: tuple[float, ...] = tuple(1 - 0.01 * i for i in range(95))

    def __post_init__(self) -> None:
        self._sums = np.zeros((len(self.shares), len(self.largest)))

    def add(self, values: np.ndarray) -> None:
        """Adds values of shape (n, groups)."""
        values = values.astype(np.float64)
        for row, share in zip(self._sums, self.shares, strict=True):
            theta = np.where(self.largest > 0, share * self.largest, 1.0)
            steps = np.floor(np.clip(self.num_steps * values / theta, 0, self.num_steps))
            row += np.square(theta / self.num_steps * steps - values).sum(axis=0)

    def result(self) -> np.ndarray:
        """Returns the threshold with the least error for each group; ties go to the larger one."""
        return self.largest * np.asarray(self.shares)[np.argmin(self._sums, axis=0)]
