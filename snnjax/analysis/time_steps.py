"""What more or fewer time steps give, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from snnjax.analysis.energy import measure_costs
from snnjax.analysis.trained import LoadedModel


def measure_time_steps(
    open_at: Callable[[int], LoadedModel], steps: Iterable[int]
) -> Iterator[dict[str, Any]]:
    """Measures accuracy and energy of the same weights at several numbers of time steps.

    Args:
      open_at: the model at a number of time steps, see `open_trained`.
      steps: which.

    Yields:
      A row for each as soon as it is measured, see `snnjax.analysis.energy.measure_costs`.
    """
    for num_steps in steps:
        yield measure_costs(open_at(num_steps))
