"""Kills a run as often as is asked for, or fails what it writes, and says what came of it.

python -m tests.faults --kills=60 --seed=0
python -m tests.faults --kills=20 --bucket
python -m tests.faults --writes --every=3

See `tests.faults.kills` and `tests.faults.writes`.
"""

import argparse
import os
import tempfile
from pathlib import Path

from tests.bucket_server import BUCKET, BucketServer
from tests.faults.kills import kill_at_random
from tests.faults.writes import fail_each


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--bucket', action='store_true', help='keep the runs in a bucket')
    parser.add_argument('--writes', action='store_true', help='fail operations on files instead')
    parser.add_argument('--every', type=int, default=1, help='of the operations, every so many')
    args = parser.parse_args()
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(Path.home() / '.cache' / 'snnjax'))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    with tempfile.TemporaryDirectory() as folder:
        print(_writes(Path(folder), args) if args.writes else _kills(Path(folder), args))


def _kills(folder: Path, args: argparse.Namespace) -> str:
    if args.bucket:
        server = BucketServer(folder / 'bucket')
        os.environ.update(server.environment)
        server.start()
        try:
            tally = kill_at_random(folder, args.kills, args.seed, f'gs://{BUCKET}')
        finally:
            server.stop()
    else:
        tally = kill_at_random(folder, args.kills, args.seed)
    return (
        f'{tally.kills} kills, {tally.stops} of them by SIGTERM, {tally.saving} while a checkpoint '
        f'was written and {tally.starting} before training had begun; {tally.runs} runs came to '
        f'their end, bit for bit as one that was never killed; at most {tally.lost} steps were '
        f'done again'
    )


def _writes(folder: Path, args: argparse.Namespace) -> str:
    tally = fail_each(folder, every=args.every)
    lines = [f'{tally.operations} operations on files of a run; of every {args.every}']
    for error, statuses in tally.statuses.items():
        ends = ', '.join(f'{number} with status {status}' for status, number in statuses.items())
        lines.append(f'{error}: {sum(statuses.values())} runs, {ends}')
    return '\n'.join([*lines, 'all of them ended afterwards, bit for bit as one without a failure'])


if __name__ == '__main__':
    main()
