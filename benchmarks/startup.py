"""Seconds from the command to the first training step, cold and with kept programs.

python benchmarks/startup.py --config=configs/cifar10.py --config.data.dir=~/snnjax_data

Starts ``python -m snnjax.main`` with these arguments, and ends it once the first step's metrics are
written: once without any compiled program, then with those of the time before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from snnjax.train.metric_writer import METRICS_FILE


def seconds_to_first_step(arguments: list[str], cache: Path, workdir: Path) -> float:
    """Of one start.

    Raises:
      RuntimeError: where the command ends before its first step.
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
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(('cold', 'warm', 'warm')):
            workdir = Path(folder) / str(number)
            seconds = seconds_to_first_step(sys.argv[1:], Path(folder) / 'cache', workdir)
            print(f'{kind}: {seconds:.1f} s to the first step')


if __name__ == '__main__':
    main()
