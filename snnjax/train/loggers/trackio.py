"""The logger for Trackio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnjax.train.loggers.run_id import PROJECT, run_id


class Trackio:
    """A run of Trackio on this machine; `trackio show` displays it.

    Args:
      workdir: the work directory of the run.
      config: the configuration of the run, with keys such as ``model.name``.
    """

    def __init__(self, workdir: Path, config: Mapping[str, Any]) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(
            PROJECT,
            # Trackio identifies a run only by its name.
            name=f'{workdir.absolute().name}-{run_id(workdir)}',
            config=dict(config),
            resume='allow',
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        """Waits until everything is stored."""
        self._trackio.finish()
