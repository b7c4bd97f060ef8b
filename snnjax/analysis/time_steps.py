"""What more or fewer time steps give, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from snnjax.analysis.energy import measure_costs
from snnjax.analysis.trained import Trained


def measure_time_steps(
    open_at: Callable[[int], Trained], steps: Iterable[int]
) -> list[dict[str, Any]]:
    """Accuracy and energy of the same weights at several numbers of time steps.

    Args:
      open_at: the model at a number of time steps, see `open_trained`.
      steps: which.

    Returns:
      A row each, see `snnjax.analysis.energy.measure_costs`.
    """
    return [measure_costs(open_at(num_steps)) for num_steps in steps]
