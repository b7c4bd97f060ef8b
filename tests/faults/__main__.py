"""Kills a run as often as is asked for, and says what came of it; see `tests.faults.kills`.

python -m tests.faults --kills=60 --seed=0
"""

import argparse
import os
import tempfile
from pathlib import Path

from tests.faults.kills import kill_at_random


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(Path.home() / '.cache' / 'snnjax'))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_at_random(Path(folder), args.kills, args.seed)
    print(
        f'{tally.kills} kills, {tally.stops} of them by SIGTERM, {tally.saving} while a checkpoint '
        f'was written and {tally.starting} before training had begun; {tally.runs} runs came to '
        f'their end, bit for bit as one that was never killed; at most {tally.lost} steps were '
        f'done again'
    )


if __name__ == '__main__':
    main()
