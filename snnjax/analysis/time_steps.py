"""What more or fewer time steps give, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from snnjax.analysis.activity import measure_activity
from snnjax.analysis.energy import estimate_energy
from snnjax.analysis.trained import Trained


def measure_time_steps(
    open_at: Callable[[int], Trained], steps: Iterable[int]
) -> list[dict[str, Any]]:
    """Accuracy and energy of the same weights at several numbers of time steps.

    Args:
      open_at: the model at a number of time steps, see `open_trained`.
      steps: which.

    Returns:
      A row each: ``num_steps``, ``images``, ``accuracy``, ``firing_rate``, ``syops`` and
      ``snn_joules`` of an image by the paper's convention, and ``joules_by_layer`` by layer, with
      what does not change over time computed once; see `snnjax.analysis.energy`.
    """
    rows = []
    for num_steps in steps:
        trained = open_at(num_steps)
        activity = measure_activity(trained)
        energy = estimate_energy(trained, activity)
        rows.append(
            {
                'num_steps': num_steps,
                'images': activity.images,
                'accuracy': activity.accuracy,
                'firing_rate': activity.firing_rate,
                'syops': energy['energy_by_mean_rate']['syops'],
                'snn_joules': energy['energy_by_mean_rate']['snn_joules'],
                'joules_by_layer': energy['energy_by_layer']['once']['snn_joules'],
            }
        )
    return rows
