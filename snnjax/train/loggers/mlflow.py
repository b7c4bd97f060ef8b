"""The logger for MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnjax.paths import in_bucket
from snnjax.train.loggers.run_id import ID_FILE, PROJECT, run_id


class MLflow:
    """A run of MLflow, stored in ``mlflow.db`` or at ``MLFLOW_TRACKING_URI``.

    Args:
      workdir: the work directory of the run.
      config: the configuration of the run, with keys such as ``model.name``.
    """

    def __init__(self, workdir: Path, config: Mapping[str, Any]) -> None:
        import mlflow
        from mlflow import entities

        self._entities = entities
        uri = os.environ.get('MLFLOW_TRACKING_URI')
        if not uri and in_bucket(workdir):
            raise ValueError('a bucket has no room for mlflow.db: set MLFLOW_TRACKING_URI')
        database = f'sqlite:///{(workdir / "mlflow.db").absolute()}'
        self._client = mlflow.MlflowClient(uri or database)
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        tag = f'{PROJECT}.{ID_FILE}'
        known = self._client.search_runs([number], f'tags.`{tag}` = "{run_id(workdir)}"')
        if known:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, status='RUNNING')
            return
        run = self._client.create_run(
            number, run_name=workdir.absolute().name, tags={tag: run_id(workdir)}
        )
        self._run = run.info.run_id
        for key, value in config.items():
            self._client.log_param(self._run, key, value)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs all values at once."""
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, v, now, step) for name, v in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Marks the run as ended."""
        self._client.set_terminated(self._run)
