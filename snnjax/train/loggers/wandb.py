"""The logger for Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnjax.paths import in_bucket
from snnjax.train.loggers.run_id import PROJECT, run_id


class WeightsAndBiases:
    """A run of Weights & Biases, stored in ``wandb/`` until `wandb sync` uploads it.

    The run is uploaded at once if ``WANDB_MODE`` is set to that, or if the user is logged in.

    Args:
      workdir: the work directory of the run.
      config: the configuration of the run, with keys such as ``model.name``.
    """

    def __init__(self, workdir: Path, config: Mapping[str, Any]) -> None:
        import wandb

        mode = os.environ.get('WANDB_MODE')
        if not mode:
            mode = 'online' if wandb.login(prompt=False, verify=False) else 'offline'
        self._run = wandb.init(
            project=os.environ.get('WANDB_PROJECT', PROJECT),
            id=run_id(workdir),
            name=workdir.absolute().name,
            dir=None if in_bucket(workdir) else str(workdir),
            config=dict(config),
            mode=mode,
            resume='allow',
            settings=wandb.Settings(console='off'),
        )
        # The internal step of W&B cannot decrease, but a resumed run goes back to its checkpoint.
        self._run.define_metric('*', step_metric='step')

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        self._run.log({**values, 'step': step})

    def close(self) -> None:
        """Waits until everything is uploaded."""
        self._run.finish()
