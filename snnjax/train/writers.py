"""What a run leaves in its work directory to be read: metrics, configuration, environment."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
import tensorboardX

from snnjax.train.config import ConfigError, differences
from snnjax.train.files import write_whole

METRICS_FILE = 'metrics.jsonl'


class MetricWriter:
    """Writes metrics to ``metrics.jsonl`` and as TensorBoard events.

    Args:
      workdir: of the run.
      start_step: where the run begins or continues. What is there of later steps is dropped: they
        are about to be taken again.
      enabled: False to write nothing, in processes that leave it to another.
    """

    def __init__(self, workdir: Path, start_step: int, *, enabled: bool = True) -> None:
        self._enabled = enabled
        if not enabled:
            return
        path = workdir / METRICS_FILE
        kept = [record for record in read_metrics(workdir) if record['step'] <= start_step]
        write_whole(path, ''.join(json.dumps(record) + '\n' for record in kept))
        self._file = path.open('a')
        self._tensorboard = tensorboardX.SummaryWriter(
            str(workdir / 'tensorboard'), purge_step=start_step + 1
        )

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._enabled:
            return
        self._file.close()
        self._tensorboard.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics; it has left this process when the call returns."""
        if not self._enabled:
            return
        self._file.write(json.dumps({'step': step, **values}) + '\n')
        self._file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, without a last one that was cut off."""
    path = workdir / METRICS_FILE
    if not path.exists():
        return []
    complete = path.read_text().rpartition('\n')[0]
    return [json.loads(line) for line in complete.splitlines()]


def check_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Checks that a run in ``workdir``, if there is one, has the same configuration.

    Raises:
      ConfigError: where it has another one; the message lists the keys.
    """
    path = workdir / 'config.json'
    if path.exists():
        changes = differences(json.loads(path.read_text()), config)
        if changes:
            raise ConfigError(
                f'{workdir} holds a run with another configuration:\n  '
                + '\n  '.join(changes)
                + '\nTo continue it, give its configuration; for a new run, another --workdir.'
            )


def write_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Writes ``config.json``."""
    workdir.mkdir(parents=True, exist_ok=True)
    write_whole(workdir / 'config.json', config.to_json(indent=2) + '\n')


def write_environment(workdir: Path) -> None:
    """Adds a line to ``environment.jsonl``: what this start of the run runs on."""
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy')
    record = {
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'arguments': sys.argv[1:],
        'python': platform.python_version(),
        'platform': platform.platform(),
        'cpus': os.cpu_count(),
        'packages': {name: importlib.metadata.version(name) for name in packages},
        'devices': [f'{device.platform} {device.device_kind}' for device in jax.devices()],
        'processes': jax.process_count(),
        'commit': _commit(),
    }
    with (workdir / 'environment.jsonl').open('a') as file:
        file.write(json.dumps(record) + '\n')


def _commit() -> str | None:
    """The git commit of the code that runs, with '-dirty' for local changes; None outside git."""
    command = ['git', '-C', str(Path(__file__).parent), 'describe', '--always', '--dirty']
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
