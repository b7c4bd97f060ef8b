"""Seconds of imports, of help texts, and from the command to the first training step.

python benchmarks/startup.py --config=configs/cifar10.py --config.data.dir=~/snnjax_data

First, processes import a package or print a help text; the output has the median of several runs.
Then ``python -m snnjax.main`` runs with the arguments given, and is stopped when the first step's
metrics are written: once with an empty compilation cache, then with the cache of the first run.
Without arguments there is no training.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METRICS_FILE = 'metrics.jsonl'  # As in `snnjax.train.metric_writer`, which is slow to import.
ROUNDS = 3
PROCESSES = {
    'python alone': ['-c', 'pass'],
    'import snnjax': ['-c', 'import snnjax'],
    'import jax': ['-c', 'import jax'],
    'import snnjax.neurons': ['-c', 'import snnjax.neurons'],
    'import flax.linen': ['-c', 'import flax.linen'],
    'snnjax.create_model': ['-c', 'import snnjax; snnjax.create_model'],
    'snnjax train --help': ['-m', 'snnjax', 'train', '--help'],
    'snnjax evaluate --help': ['-m', 'snnjax', 'evaluate', '--help'],
}


def seconds_of(arguments: list[str]) -> tuple[float, float]:
    """Returns the seconds and the CPU seconds of a Python process."""
    start, before = time.perf_counter(), _computed()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start, _computed() - before


def _computed() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds_to_first_step(arguments: list[str], cache: Path, workdir: Path) -> float:
    """Returns the seconds of one run until its first step.

    Raises:
      RuntimeError: if the command ends before its first step.
    """
    metrics = workdir / METRICS_FILE
    start = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, '-m', 'snnjax.main', *arguments),
            *('--config.log_every=1', f'--workdir={workdir}'),
        ],
        env=os.environ | {'JAX_COMPILATION_CACHE_DIR': str(cache)},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                raise RuntimeError(f'ended with status {process.returncode}')
            time.sleep(0.02)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Runs the benchmark."""
    # Processes take turns, so that other work on the machine slows all of them alike.
    rounds = [{name: seconds_of(a) for name, a in PROCESSES.items()} for _ in range(ROUNDS)]
    for name in PROCESSES:
        wall, cpu = (
            statistics.median(column) for column in zip(*(r[name] for r in rounds), strict=True)
        )
        print(f'{name}: {wall:.2f} s, {cpu:.2f} s of a core')
    if not sys.argv[1:]:
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(('cold', 'warm', 'warm')):
            workdir = Path(folder) / str(number)
            took = seconds_to_first_step(sys.argv[1:], Path(folder) / 'cache', workdir)
            print(f'{kind}: {took:.1f} s to the first step')


if __name__ == '__main__':
    main()
