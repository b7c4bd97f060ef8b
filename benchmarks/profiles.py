r"""Summarizes a trace of JAX's profiler: time by kind of operation, and the longest operations.

python benchmarks/profiles.py FOLDER --steps=3

The folder is one that `jax.profiler.trace` has written, for example with `gpu_variants.py
--profile`. The summary is written there, as `summary.json` and `summary.md`. `--picture=FILE` plots
the activity of the busiest threads.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

KINDS = (
    ('kernel of Pallas', r'pallas|fused_(forward|backward)_kernel'),
    ('convolution', r'conv(?!ert)|cudnn|xmma|implicit|wgrad|dgrad|fprop|cutlass.*(fprop|grad)'),
    ('matrix product', r'gemm|dot|matmul|cublas'),
    ('reduction', r'reduce'),
    ('copy, transpose', r'copy|transpose|memcpy|memset|concatenate'),
    ('fusion', r'fusion|loop_|input_|wrapped'),
)
"""Kinds of operations with patterns of their names; the first match counts."""


def kind_of(name: str) -> str:
    """Returns the kind of an operation."""
    return next((kind for kind, words in KINDS if re.search(words, name, re.IGNORECASE)), 'other')


def summarize(folder: Path, steps: int, longest: int = 25) -> dict[str, Any]:
    """Summarizes the newest trace of a folder, and writes the summary there.

    Args:
      folder: the folder of the trace.
      steps: the number of training steps in the trace.
      longest: the number of operations to list.

    Returns:
      The milliseconds per step: ``kinds`` by kind, and ``operations`` with name, milliseconds and
      calls.

    Raises:
      FileNotFoundError: if the folder has no trace.
    """
    import jax

    traces = sorted(folder.rglob('*.xplane.pb'), key=lambda path: path.stat().st_mtime)
    if not traces:
        raise FileNotFoundError(f'{folder} has no trace, *.xplane.pb')
    data = jax.profiler.ProfileData.from_file(str(traces[-1]))
    summary = add_up(_operations(data.planes), steps, longest)
    (folder / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    (folder / 'summary.md').write_text(to_markdown(summary))
    return summary


def _operations(planes: Iterable[Any]) -> Iterator[tuple[str, float]]:
    """Yields name and nanoseconds of the operations on devices, or of XLA on the CPU if none."""
    planes = list(planes)
    devices = [plane for plane in planes if plane.name.startswith('/device:')]
    for plane in devices or planes:
        for line in plane.lines:
            # Lines of XLA's modules and steps count the same time again.
            if devices and not re.search(r'stream|ops', line.name, re.IGNORECASE):
                continue
            if not devices and 'XLA' not in line.name:
                continue
            for event in line.events:
                if not _WAITS.match(event.name):
                    yield event.name, event.duration_ns


# Events of XLA's CPU threads that are not operations.
_WAITS = re.compile(r'ThunkExecutor|ThreadpoolListener|end: ')


def add_up(operations: Iterable[tuple[str, float]], steps: int, longest: int) -> dict[str, Any]:
    """Adds up operations by name and by kind.

    Args:
      operations: the name and the nanoseconds of each operation.
      steps: the number of training steps.
      longest: the number of operations to list.
    """
    times: dict[str, float] = collections.defaultdict(float)
    calls: dict[str, int] = collections.Counter()
    for name, nanoseconds in operations:
        times[name] += nanoseconds / 1e6 / steps
        calls[name] += 1
    kinds: dict[str, float] = collections.defaultdict(float)
    for name, milliseconds in times.items():
        kinds[kind_of(name)] += milliseconds
    ranked = sorted(times, key=lambda name: -times[name])[:longest]
    return {
        'steps': steps,
        'milliseconds': sum(times.values()),
        'kernels': sum(calls.values()) / steps,
        'kinds': dict(sorted(kinds.items(), key=lambda item: -item[1])),
        'operations': [
            {
                'name': name[:120],
                'kind': kind_of(name),
                'milliseconds': times[name],
                'calls': calls[name] / steps,
            }
            for name in ranked
        ],
    }


def to_markdown(summary: Mapping[str, Any]) -> str:
    """Returns a summary as two tables."""
    total = summary['milliseconds'] or 1
    lines = [
        f'{summary["milliseconds"]:.2f} ms of operations per step, {summary["kernels"]:.0f} calls, '
        f'over {summary["steps"]} steps',
        '',
        '| kind | ms | share |',
        '|---|--:|--:|',
        *(f'| {kind} | {ms:.2f} | {ms / total:.1%} |' for kind, ms in summary['kinds'].items()),
        '',
        '| operation | kind | ms | calls |',
        '|---|---|--:|--:|',
        *(
            f'| `{op["name"]}` | {op["kind"]} | {op["milliseconds"]:.3f} | {op["calls"]:.1f} |'
            for op in summary['operations']
        ),
    ]
    return '\n'.join(lines) + '\n'


def draw(folder: Path, picture: Path, threads: int = 3) -> None:
    """Plots the activity of the busiest threads or streams of a trace over time.

    Args:
      folder: the folder with ``perfetto_trace.json.gz``, as `snnjax.main --profile` writes it.
      picture: the PNG file to write.
      threads: the number of threads to plot.

    Raises:
      FileNotFoundError: if the folder has no such trace.
    """
    import matplotlib.pyplot as plt

    traces = sorted(folder.rglob('perfetto_trace.json.gz'), key=lambda path: path.stat().st_mtime)
    if not traces:
        raise FileNotFoundError(f'{folder} has no trace, perfetto_trace.json.gz')
    with gzip.open(traces[-1]) as file:
        events = json.load(file)['traceEvents']
    names: dict[tuple, str] = {}
    spans: dict[tuple, list] = collections.defaultdict(list)
    for event in events:
        thread = event.get('pid'), event.get('tid')
        if event.get('ph') == 'M' and event['name'] == 'thread_name':
            names[thread] = event['args']['name']
        elif event.get('ph') == 'X' and event.get('dur') and not _WAITS.match(event['name']):
            spans[thread].append(event)
    # The Python threads of the host are only plotted for training steps.
    spans = {
        thread: [e for e in all_of_it if names.get(thread) != 'python' or 'train_step' in e['name']]
        for thread, all_of_it in spans.items()
    }
    busiest = sorted(spans, key=lambda thread: -sum(e['dur'] for e in spans[thread]))[:threads]
    first = min(event['ts'] for thread in busiest for event in spans[thread])
    kinds = [*(kind for kind, _ in KINDS), 'train_step', 'other']
    colors = {kind: f'C{number}' for number, kind in enumerate(kinds)}
    figure, axes = plt.subplots(figsize=(9, 0.6 * threads + 1.6), layout='constrained')
    drawn = {}
    for row, thread in enumerate(busiest):
        # The longest come first, so that the events they contain are drawn over them.
        for event in sorted(spans[thread], key=lambda event: -event['dur']):
            name = event['name']
            kind = 'train_step' if 'train_step' in name else kind_of(name)
            span = ((event['ts'] - first) / 1e3, event['dur'] / 1e3)
            drawn[kind] = axes.broken_barh([span], (row - 0.4, 0.8), facecolors=colors[kind])
    axes.set_yticks(range(len(busiest)), [str(names.get(t, t)).split('/')[0] for t in busiest])
    axes.invert_yaxis()
    axes.set_xlabel('time (ms)')
    axes.legend(drawn.values(), drawn, ncols=4, loc='lower center', bbox_to_anchor=(0.5, 1))
    figure.savefig(picture, dpi=120)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path)
    parser.add_argument('--steps', type=int, default=1, help='training steps in the trace (1)')
    parser.add_argument('--picture', type=Path, help='the PNG file for a plot of the trace')
    args = parser.parse_args()
    summarize(args.folder, args.steps)
    if args.picture:
        draw(args.folder, args.picture)
    print((args.folder / 'summary.md').read_text(), end='')


if __name__ == '__main__':
    main()
