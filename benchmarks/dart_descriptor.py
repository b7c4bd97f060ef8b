"""Events per second of a core that DART describes and assigns to words.

OPENBLAS_NUM_THREADS=1 python benchmarks/dart_descriptor.py

The inputs are rendered recordings (`benchmarks/event_recordings.py`) of 128x128 pixels, and the
same at 34x34 with the settings for N-MNIST. Times are CPU seconds, which other work on the machine
affects little. Each figure is the best of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def best_rate(run: Callable[[], object], events: int, rounds: int) -> float:
    """Returns events per second of a core in the fastest round."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return events / min(seconds)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--events', type=int, default=20_000)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', type=Path, help='the output file for the results')
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.event_recordings import Scene, render
    from snnjax.dart.bag_of_words import Codebook
    from snnjax.dart.descriptor import LogPolarGrid, describe
    from snnjax.dart.options import PRESETS, DartOptions
    from snnjax.data.sources.event_files import Events

    large = render(Scene(3, 10, 0))[: args.events]
    small = Events(large.x * 34 // 128, large.y * 34 // 128, large.on, large.t, 34, 34)
    results = {}
    for name, events, options in (
        ('34x34, settings of N-MNIST', small, DartOptions(**PRESETS['nmnist'])),
        ('128x128', large, DartOptions()),
    ):
        grid = LogPolarGrid(options.rings, options.wedges, options.inner, options.outer)
        descriptors, _ = describe(events, grid, fifo=options.fifo)
        rng = np.random.default_rng(0)
        words = descriptors[rng.integers(0, len(descriptors), options.words)]
        book = Codebook(words, np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
        rates = {
            'described': best_rate(
                lambda e=events, g=grid, f=options.fifo: describe(e, g, fifo=f),
                len(events),
                args.rounds,
            ),
            'words': best_rate(
                lambda b=book, d=descriptors: b.nearest(d), len(events), args.rounds
            ),
        }
        results[name] = rates
        print(
            f'{name:28}{rates["described"]:10,.0f} events/s described, '
            f'{60 * rates["described"] / 1e6:.1f} M/min; {rates["words"]:,.0f} events/s to '
            f'{options.words:,} words'
        )
    if args.json:
        about = {'events': args.events, 'cores': os.cpu_count(), 'load': os.getloadavg()}
        args.json.write_text(json.dumps(about | {'rates': results}, indent=2) + '\n')


if __name__ == '__main__':
    main()
