r"""Event recordings of real size, from files to batches, compared with SpikingJelly's loader.

python benchmarks/event_pipeline.py --each=100 --users=2
python benchmarks/event_pipeline.py --each=1000 --users=122 --peer=~/spikingjelly/bin/python \
    --folder=/scratch --json=out.json

The program renders sets in the layouts of CIFAR10-DVS (--each recordings of each of ten classes)
and DVS128 Gesture (--users recordings of --seconds) with `benchmarks/event_recordings.py`. It
prepares them with ``python -m snnjax.tools.prepare``. One preparation is killed in the middle and
resumed; its files must be the same, byte for byte.

Then this library and SpikingJelly take turns at making frames of recordings in memory, on one core
and in processes of their own. SpikingJelly's ``_load_origin_data`` reads the same files, and its
``integrate_events_by_fixed_frames_number`` makes the frames, which must be the same. Last,
``bench_data`` measures the share of training time in which a small network waits for data.

Rates of a core are per CPU second, which other work on the machine affects little.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NUM_FRAMES = 10
DATA_SETS = ('cifar10_dvs', 'dvs_gesture')
ROOT = Path(__file__).resolve().parents[1]

# SpikingJelly's part runs in its own process and maybe its own environment: a line in, a line out.
PEER = """
import hashlib, json, sys, time
import numpy as np
from spikingjelly.datasets import cifar10_dvs, utils
files, num_frames = json.loads(sys.stdin.readline())
recordings = [cifar10_dvs._load_origin_data(name) for name in files]
print(json.dumps({'events': sum(len(r['t']) for r in recordings)}), flush=True)
for line in sys.stdin:
    how = line.strip()
    start, made = time.process_time(), []
    for r in recordings:
        frames = utils.integrate_events_by_fixed_frames_number(r, how, num_frames, 128, 128)
        made.append(frames)
    seconds = time.process_time() - start
    # Its axes have another order; this restores rows, columns and polarities.
    turned = [np.flip(f, 2).transpose(0, 3, 2, 1) for f in made]
    flat = np.stack(turned).clip(0, 255).astype(np.uint8)
    digest = hashlib.sha256(np.ascontiguousarray(flat).tobytes()).hexdigest()
    print(json.dumps({'seconds': seconds, 'digest': digest}), flush=True)
"""


def prepare(dataset: str, source: Path, data_dir: Path, stop_after: int = 0) -> dict[str, float]:
    """Prepares a data set in a process of its own.

    Args:
      dataset: the name of the data set.
      source: the folder with its files.
      data_dir: the folder to write to.
      stop_after: the number of shards after which the process is killed; 0 to let it finish.

    Returns:
      The dict of ``seconds``, ``cpu_seconds`` and ``peak_bytes`` of the process.
    """
    command = [sys.executable, '-m', 'snnjax.tools.prepare', dataset]
    command += [f'--source={source}', f'--data.dir={data_dir}']
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
    written = data_dir / dataset / '1.0.0.incomplete'
    while stop_after and process.poll() is None:
        if len(list(written.glob('*array_record*'))) >= stop_after:
            process.kill()
            break
        time.sleep(0.02)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != (-9 if stop_after else 0):
        raise RuntimeError(f'preparing {dataset} ended with status {process.returncode}')
    return {
        'seconds': time.perf_counter() - start,
        'cpu_seconds': usage.ru_utime + usage.ru_stime,
        'peak_bytes': usage.ru_maxrss * 1024,
    }


def digest_of(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a data set."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def measure_preparation(dataset: str, source: Path, folder: Path, events: int) -> dict[str, Any]:
    """Prepares a data set twice, once with a stop in the middle, and prints the costs."""
    result: dict[str, Any] = prepare(dataset, source, folder / 'whole')
    made = folder / 'whole' / dataset / '1.0.0'
    shards = len(list(made.glob('*array_record*')))
    result |= {
        'events': events,
        'shards': shards,
        'stored_bytes': sum(path.stat().st_size for path in made.iterdir()),
        'events_per_cpu_second': events / result['cpu_seconds'],
        'events_per_second': events / result['seconds'],
    }
    print(
        f'{dataset}: {events / 1e6:.1f} M events prepared in {result["seconds"]:.0f} s, '
        f'{result["events_per_cpu_second"] / 1e6:.2f} M events/s of a core, '
        f'at most {result["peak_bytes"] / 2**20:.0f} MiB, {shards} shards',
        flush=True,
    )
    if shards > 1:
        stopped = prepare(dataset, source, folder / 'twice', stop_after=(shards + 1) // 2)
        again = prepare(dataset, source, folder / 'twice')
        same = digest_of(made) == digest_of(folder / 'twice' / dataset / '1.0.0')
        result['resume'] = {
            'cpu_seconds_before': stopped['cpu_seconds'],
            'cpu_seconds_after': again['cpu_seconds'],
            'same_bytes': same,
        }
        print(
            f'{dataset}: killed and resumed: {stopped["cpu_seconds"]:.0f} + '
            f'{again["cpu_seconds"]:.0f} s of a core, files {"the same" if same else "DIFFER"}',
            flush=True,
        )
    return result


def framings() -> dict[str, Any]:
    """Returns the framings by name."""
    from snnjax.data.transforms.framing import Framing

    return {
        'number': Framing(NUM_FRAMES),
        'time': Framing(NUM_FRAMES, 'time'),
        'number, 64x64': Framing(NUM_FRAMES, downsample=2),
        'time surface': Framing(NUM_FRAMES, values='time_surface'),
        'voxel grid': Framing(NUM_FRAMES, 'time', values='voxel_grid'),
    }


class Peer:
    """SpikingJelly in a process of its own.

    Args:
      python: the path of a Python interpreter that has SpikingJelly.
      files: the recordings to read.
    """

    def __init__(self, python: str, files: Sequence[Path]) -> None:
        self._process = subprocess.Popen(
            [python, '-c', PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events = self._ask(json.dumps([[str(path) for path in files], NUM_FRAMES]))['events']

    def frame(self, how: str) -> dict[str, Any]:
        """Returns ``seconds`` and ``digest`` of framing all recordings."""
        return self._ask(how)

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin  # noqa: S101
        assert self._process.stdout  # noqa: S101
        self._process.stdin.write(line + '\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                'SpikingJelly did not respond; give --peer an interpreter that has it'
            )
        answered: dict[str, Any] = json.loads(answer)
        return answered


def measure_framing(files: Sequence[Path], peer_python: str, rounds: int) -> dict[str, Any]:
    """Frames recordings of CIFAR10-DVS in turns, and prints events per second of a core."""
    from snnjax.data.sources.event_files import read_aedat2

    recordings = [read_aedat2(path.read_bytes()) for path in files]
    total = sum(map(len, recordings))
    peer = Peer(peer_python, files) if peer_python else None
    rates: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        rates.setdefault(name, []).append(total / seconds)

    equal = None
    for number in range(rounds + 1):
        for name, make in framings().items():
            start = time.process_time()
            frames = [make(events) for events in recordings]
            if number:
                note(name, time.process_time() - start)
            if peer and name in ('number', 'time'):
                theirs = peer.frame(name)
                if number:
                    note(f'SpikingJelly, {name}', theirs['seconds'])
                elif name == 'number':
                    # By time, SpikingJelly's frames end at other microseconds.
                    ours = hashlib.sha256(np.stack(frames).tobytes()).hexdigest()
                    equal = ours == theirs['digest']
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f'frames of {len(files)} recordings, {total:,} events, T = {NUM_FRAMES}')
    for name, rate in medians.items():
        their = medians.get(f'SpikingJelly, {name}')
        ratio = f', {rate / their:.2f} times SpikingJelly' if their else ''
        print(f'  {name:24}{rate / 1e6:8.1f} M events/s of a core{ratio}', flush=True)
    if peer:
        print(f'frames by number are {"the same" if equal else "DIFFERENT"}')
    return {'recordings': len(files), 'events': total, 'same_frames': equal, 'rounds': rates}


def measure_batches(data_dir: Path) -> dict[str, float]:
    """Measures how fast batches are read and framed, and the restart from mid-epoch."""
    from snnjax.data import DataOptions, open_dataset
    from snnjax.data.pipeline import TrainingBatches

    options = DataOptions('cifar10_dvs', str(data_dir), 'random:0')
    split = open_dataset(options, NUM_FRAMES).load('train')
    size = min(16, len(split))
    batches = TrainingBatches(split, size, 0, max(4, len(split) // size))
    batches[0]
    start = time.process_time()
    for number in range(3):
        batches[number]
    seconds = (time.process_time() - start) / 3
    middle = len(batches) // 2
    start = time.perf_counter()
    first = next(iter(batches.iterate(middle)))
    resumed = time.perf_counter() - start
    same = np.array_equal(first['image'], batches[middle]['image'])
    print(
        f'batches: {size / seconds:.0f} recordings/s of a core, read and framed; batch {middle} of '
        f'{len(batches)} after {resumed:.2f} s, {"the same" if same else "ANOTHER"} as before'
    )
    return {
        'recordings_per_cpu_second': size / seconds,
        'resume_seconds': resumed,
        'resume_same': float(same),
    }


def measure_waiting(data_dir: Path) -> float:
    """Returns the share of training time that a small network waits for data."""
    command = [sys.executable, '-m', 'snnjax.tools.bench_data']
    command += [f'--config=configs/cifar10_dvs.py:depth=8,num_steps={NUM_FRAMES},split=random:0']
    command += [f'--config.data.dir={data_dir}', '--config.batch_size=8', '--batches=2']
    command += ['--config.model.widths=(8,16,32)', '--steps=4']
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    run = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    found = re.search(r'^waiting for data +([\d.]+)%', run.stdout, re.MULTILINE)
    assert found  # noqa: S101
    print(f'waiting for data: {found[1]} % of training steps', flush=True)
    return float(found[1]) / 100


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Makes the sets in a folder, and measures everything."""
    from benchmarks import event_recordings

    makers: dict[str, Callable[[Path], int]] = {
        'cifar10_dvs': lambda source: event_recordings.write_cifar10_dvs(source, args.each),
        'dvs_gesture': lambda source: event_recordings.write_dvs_gesture(
            source, args.users, args.seconds
        ),
    }
    results: dict[str, Any] = {'preparation': {}}
    for dataset in args.data_sets:
        source = folder / f'{dataset}_files'
        start = time.perf_counter()
        events = makers[dataset](source)
        sizes = [path.stat().st_size for path in source.rglob('*.aedat')]
        print(
            f'{dataset}: {len(sizes):,} recordings of {events / len(sizes):,.0f} events, '
            f'{sum(sizes) / 2**20:,.0f} MiB, rendered in {time.perf_counter() - start:.0f} s',
            flush=True,
        )
        about = {'recordings': len(sizes), 'file_bytes': sum(sizes), 'largest_file': max(sizes)}
        results['preparation'][dataset] = about | measure_preparation(
            dataset, source, folder, events
        )
    if 'cifar10_dvs' not in args.data_sets:
        return results
    files = sorted((folder / 'cifar10_dvs_files').rglob('*.aedat'))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(20, len(files))).astype(int)]
    results['framing'] = measure_framing(chosen, args.peer, args.rounds)
    results['batches'] = measure_batches(folder / 'whole')
    if not args.no_steps:
        results['waiting'] = measure_waiting(folder / 'whole')
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data_sets', nargs='+', choices=DATA_SETS, default=DATA_SETS)
    parser.add_argument('--each', type=int, default=100, help='recordings of each class (100)')
    parser.add_argument('--users', type=int, default=2, help='recordings of gestures (2)')
    parser.add_argument(
        '--seconds', type=float, default=100, help='length of a gesture recording (100)'
    )
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument(
        '--peer', default='', help='an interpreter that has SpikingJelly; default: no comparison'
    )
    parser.add_argument('--no_steps', action='store_true', help='skip the training steps')
    parser.add_argument(
        '--folder', type=Path, help='the folder for the files; default: a temporary one'
    )
    parser.add_argument('--json', type=Path, help='the output file for the results')
    args = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    args.peer = str(Path(args.peer).expanduser()) if args.peer else ''
    about = {
        'processor': platform.processor() or platform.machine(),
        'cores': os.cpu_count(),
        'load_before': os.getloadavg(),
    }
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        results = about | measure(args, Path(folder)) | {'load_after': os.getloadavg()}
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
