"""Accuracy and energy of the same weights at several numbers of time steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from snnjax.analysis.energy import measure_costs
from snnjax.analysis.trained import ModelOnData


def measure_time_steps(
    open_at: Callable[[int], ModelOnData], steps: Iterable[int]
) -> Iterator[dict[str, Any]]:
    """Measures accuracy and energy of the same weights at several numbers of time steps.

    Args:
      open_at: the function that opens the model at a number of time steps, for example by
        `open_trained`.
      steps: the numbers of time steps.

    Yields:
      The row of `snnjax.analysis.energy.measure_costs` for each number of time steps.
    """
    for num_steps in steps:
        yield measure_costs(open_at(num_steps))
