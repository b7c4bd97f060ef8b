"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnjax.paths import in_bucket
from snnjax.train.loggers.run_id import PROJECT, run_id


class WeightsAndBiases:
    """A run of Weights & Biases, in ``wandb/``, to be sent with `wandb sync`.

    It is sent at once where ``WANDB_MODE`` says so, or where the user is logged in.

    Args:
      workdir: of the run.
      config: of the run, by keys such as ``model.name``.
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
        # Its own count of steps cannot go back, as a run does to its last checkpoint.
        self._run.define_metric('*', step_metric='step')

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        self._run.log({**values, 'step': step})

    def close(self) -> None:
        """Waits for what is being sent."""
        self._run.finish()
