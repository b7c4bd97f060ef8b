r"""Compares training steps of MS-ResNets on a GPU with PyTorch and SpikingJelly.

pip install '.[cuda,bench]'
python benchmarks/gpu_peers.py --json=peers_gpu.json
python benchmarks/gpu_peers.py --only=imagenet34 cifar20 --budget_seconds=500 --json=out.json
python benchmarks/gpu_peers.py --platform=cpu --only=tiny --peers pytorch spikingjelly

All programs use the same weights and images, in bfloat16. PyTorch runs under autocast, with
channels last, cuDNN's choice of algorithms and a fused optimizer. It runs as a plain loop, as that
loop compiled by `torch.compile`, and with SpikingJelly's neurons, by its Triton kernels and by its
native kernels if those were built.

Every program of every network is a process of its own. If a program fails, runs out of memory or
takes longer than `--limit_seconds` for its first steps, its error is recorded and the others
continue. Losses of three steps are compared before anything is timed, and programs with other
losses are not timed. In bfloat16 the losses may differ by 10 %, because roundings decide which
neurons fire. Use `--dtype=float32` to check that networks are the same; there the tolerance is 1 %.
Then the remaining programs take turns. Results are written after each network, the most important
first, until `--budget_seconds` are spent.

MFU is the achieved share of a measured matrix product's rate. It uses XLA's count of the operations
of our step for all programs. The memory floor is XLA's count of bytes for our step at the rate of a
measured copy.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cards import floor_seconds
from peers import SnnjaxProgram, make_batch, make_weights


@dataclasses.dataclass(frozen=True)
class Case:
    """A network with the shape of its images.

    Attributes:
      model: the name of the network.
      size: the height and width of the images in pixels.
      batch: the number of images in a batch.
      num_steps: the number of time steps T.
    """

    model: str
    size: int
    batch: int
    num_steps: int


CASES = {
    'imagenet34': Case('ms_resnet34', 224, 64, 6),
    'cifar20': Case('ms_resnet20', 32, 100, 4),
    'cifar110': Case('ms_resnet110', 32, 100, 4),
    'imagenet104': Case('ms_resnet104', 224, 64, 6),
    'imagenet18': Case('ms_resnet18', 224, 64, 6),
    'cifar56': Case('ms_resnet56', 32, 100, 4),
    'tiny': Case('ms_resnet8', 8, 2, 2),
}
"""Networks by name, the most important first; 'tiny' tests this program on a CPU."""

PEERS: dict[str, dict[str, Any]] = {
    'spikingjelly': {'name': 'spikingjelly'},
    'spikingjelly_triton': {'name': 'spikingjelly', 'kernels': 'triton'},
    'spikingjelly_native': {'name': 'spikingjelly', 'kernels': 'cuda'},
    'pytorch': {'name': 'pytorch'},
    'compiled': {'name': 'pytorch', 'compiled': True},
    'snntorch': {'name': 'snntorch'},
}
"""PyTorch programs by name. `kernels` selects the LIF kernels of SpikingJelly 2.0: 'triton', 'cuda'
(if SpikingJelly was built with it) or 'torch'. Without `kernels` SpikingJelly chooses."""

DEFAULT_PEERS = ('compiled', 'spikingjelly_triton', 'spikingjelly_native', 'pytorch')


class WorkerError(Exception):
    """The failure of a program; the message is the last line of its errors."""


class Worker:
    """A program in a process of its own, with a time limit for its answers.

    Args:
      name: the name 'snnjax', 'speeds' or a key of `PEERS`.
      arguments: the arguments of the worker's command line.
      environment: the variables to add to this process's environment.
      errors: the file for the process's stderr.
      script: the script to run.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        errors: Path,
        *,
        script: Path = Path(__file__),
    ) -> None:
        self.name = name
        self._errors = errors
        with errors.open('w') as stream:
            self._process = subprocess.Popen(
                [sys.executable, str(script), f'--worker={name}', *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                bufsize=1,
                env=os.environ | environment,
            )
        self._commands: Any = self._process.stdin
        self._answers: Any = self._process.stdout

    def ask(self, command: str) -> None:
        """Sends a command without waiting for the answer.

        Raises:
          WorkerError: if the process has ended.
        """
        try:
            self._commands.write(command + '\n')
            self._commands.flush()
        except OSError as error:
            raise WorkerError(self._last_error()) from error

    def answer(self, limit: float) -> dict[str, Any]:
        """Returns the next answer.

        Args:
          limit: the longest wait in seconds.

        Raises:
          WorkerError: if the process has ended, or has not answered in time.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            if not selector.select(max(0.0, limit)):
                raise WorkerError(f'no answer within {limit:.0f} s')
        line = self._answers.readline()
        if not line:
            raise WorkerError(self._last_error())
        return json.loads(line)

    def close(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._commands, self._answers):
            # Unread data is of no use.
            with contextlib.suppress(OSError):
                pipe.close()

    def _last_error(self) -> str:
        """Returns the last line of the process's errors."""
        status = self._process.wait()
        lines = self._errors.read_text().strip().splitlines()
        return lines[-1][:300] if lines else f'ended with status {status}'


def environment_of(name: str, platform: str) -> dict[str, str]:
    """Returns the environment variables of a worker."""
    options = PEERS.get(name, {})
    variables = {
        # Several processes share the GPU.
        'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
        'PYTORCH_ALLOC_CONF': 'expandable_segments:True',
        'JAX_PLATFORMS': 'cpu' if platform == 'cpu' else 'cuda',
    }
    if 'kernels' in options:
        variables['SJ_LIF_CUDA_IMPLEMENTATION'] = options['kernels']
    return variables


def serve(name: str, args: argparse.Namespace) -> None:
    """Serves as one of the programs, with one command per line and one line of JSON as answer."""
    # The output of libraries must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w', buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    program = None if name == 'speeds' else make_program(name, args)
    for line in sys.stdin:
        command, _, number = line.strip().partition(' ')
        print(json.dumps(carry_out(program, command, int(number or 0))), file=answers)


def make_program(name: str, args: argparse.Namespace) -> Any:
    """Returns one of the programs, with its weights and a batch."""
    options = json.loads(args.options)
    program: Any
    if name == 'snnjax':
        # The peers have no dropout.
        ours = {'dtype': None if args.dtype == 'float32' else args.dtype, 'dropout': 0.0}
        program = SnnjaxProgram(args.model, args.num_steps, args.weights, ours)
    else:
        from torch_networks import TorchProgram

        options |= {'num_steps': args.num_steps, 'stem': tuple(options['stem'])}
        program = TorchProgram(
            PEERS[name]['name'],
            options,
            dict(np.load(args.weights)),
            os.cpu_count() or 1,
            device='cpu' if args.platform == 'cpu' else 'cuda',
            dtype=args.dtype,
            channels_last=True,
            compiled=PEERS[name].get('compiled', False),
        )
    program.put(*make_batch(args.batch, args.size, options['num_classes']))
    return program


def carry_out(program: Any, command: str, number: int) -> dict[str, Any]:
    """Runs a command.

    Args:
      program: the measured program; None in the process that measures the device.
      command: the command: 'speeds', 'losses', 'time' or 'describe'.
      number: the number of training steps of 'losses' and 'time'.

    Returns:
      The answer.
    """
    start = time.perf_counter()
    match command:
        case 'speeds':
            from cards import describe_card, measure_speeds

            return {'card': describe_card(), 'speeds': measure_speeds()}
        case 'losses':
            losses = [program.train() for _ in range(number)]
            return {'losses': losses, 'seconds': time.perf_counter() - start}
        case 'time':
            for _ in range(number):
                program.start_step()
            program.wait()
            seconds = (time.perf_counter() - start) / number
            return {'seconds': seconds, 'peak_bytes': program.peak_bytes()}
        case _:
            return program.describe()


def measure_speeds(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns the description and speeds of the device, measured in a process of its own."""
    worker = Worker('speeds', [], environment_of('speeds', args.platform), folder / 'speeds')
    try:
        worker.ask('speeds')
        return worker.answer(args.limit_seconds)
    finally:
        worker.close()


def measure(case: Case, args: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Measures all programs of a network.

    Args:
      case: the network.
      args: the arguments of the command line.
      folder: the folder for weights and errors.

    Returns:
      The results by program: ``losses``, ``seconds``, ``images_per_second`` and ``peak_bytes``, or
      ``error``. Ours also has XLA's cost estimate.
    """
    weights = folder / f'{case.model}.npz'
    options = make_weights(case.model, weights)
    arguments = [
        *(f'--{key}={value}' for key, value in dataclasses.asdict(case).items()),
        f'--dtype={args.dtype}',
        f'--platform={args.platform}',
        f'--weights={weights}',
        f'--options={json.dumps(options)}',
    ]
    names = ['snnjax', *args.peers]
    workers = {
        name: Worker(name, arguments, environment_of(name, args.platform), folder / name)
        for name in names
    }
    try:
        return _measure(case, args, workers)
    finally:
        for worker in workers.values():
            worker.close()


def _measure(
    case: Case, args: argparse.Namespace, workers: dict[str, Worker]
) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {name: {} for name in workers}
    deadline = time.monotonic() + args.limit_seconds

    def attempt(name: str, command: str | None, limit: float) -> dict[str, Any] | None:
        """Sends a worker the command, if any, and returns its answer; drops it on an error."""
        try:
            if command:
                workers[name].ask(command)
            return workers[name].answer(limit)
        except WorkerError as error:
            results[name] = {'error': str(error)}
            workers.pop(name).close()
            return None

    # Slow compilations run while the other programs warm up one after the other.
    slow = [name for name in workers if PEERS.get(name, {}).get('compiled')]
    for name in slow:
        workers[name].ask('losses 3')
    for name in [*(name for name in list(workers) if name not in slow), *slow]:
        command = None if name in slow else 'losses 3'
        answer = attempt(name, command, deadline - time.monotonic())
        if answer:
            results[name] |= {'losses': answer['losses'], 'first_seconds': answer['seconds']}
            results[name] |= attempt(name, 'describe', args.limit_seconds) or {}
    for name, problem in disagreements(results, args.tolerance).items():
        results[name]['error'] = problem
        workers.pop(name).close()
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(args.rounds + 1):
        for name in list(workers):
            answer = attempt(name, f'time {args.steps}', args.limit_seconds)
            # The first round is a warm-up.
            if answer and number:
                seconds[name].append(answer['seconds'])
                results[name]['peak_bytes'] = answer['peak_bytes']
    for name in workers:
        median = statistics.median(seconds[name])
        results[name] |= {
            'seconds': median,
            'all_seconds': seconds[name],
            'images_per_second': case.batch / median,
        }
    return results


def disagreements(results: Mapping[str, Mapping[str, Any]], tolerance: float) -> dict[str, str]:
    """Finds programs whose losses differ from ours.

    Args:
      results: the results by program, with ``losses`` or ``error``.
      tolerance: the largest relative difference.

    Returns:
      A description of the difference by program; nothing if ours has failed.
    """
    ours = results['snnjax'].get('losses')
    if ours is None:
        return {}
    return {
        name: f'losses {result["losses"]} differ from ours, {ours}'
        for name, result in results.items()
        if 'losses' in result and not np.allclose(result['losses'], ours, rtol=tolerance)
    }


def add_shares(
    results: dict[str, dict[str, Any]], speeds: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Adds MFU, our share of the copy's rate, and the floor of our step, in place.

    Args:
      results: the results by program; ours has the operations and bytes of a step.
      speeds: the result of `cards.measure_speeds`.

    Returns:
      The results.
    """
    ours = results['snnjax']
    if 'flops' not in ours:
        return results
    ours['floor_seconds'] = floor_seconds(ours, dict(speeds))
    for result in results.values():
        if 'seconds' in result:
            result['mfu'] = ours['flops'] / result['seconds'] / speeds['flops']
    if 'seconds' in ours:
        ours['bandwidth_share'] = ours['bytes'] / ours['seconds'] / speeds['bandwidth']
    return results


def describe(name: str, case: Case, dtype: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a table of the results of a network."""
    lines = [
        f'{name}: {case.model}, {case.batch} images of {case.size}x{case.size}, '
        f'T={case.num_steps}, {dtype}',
        f'{"":21}{"step":>11}{"images/s":>11}{"x":>7}{"peak":>10}{"MFU":>7}{"first":>9}',
    ]
    ours = results['snnjax'].get('seconds')
    for program, result in results.items():
        if 'error' in result:
            lines.append(f'{program:21}{result["error"]}')
            continue
        times = f'{result["seconds"] / ours:7.2f}' if ours else f'{"":7}'
        mfu = f'{result["mfu"]:7.1%}' if 'mfu' in result else f'{"":7}'
        lines.append(
            f'{program:21}{result["seconds"] * 1e3:8.2f} ms{result["images_per_second"]:11,.0f}'
            f'{times}{result["peak_bytes"] / 1e9:7.2f} GB{mfu}{result["first_seconds"]:7.1f} s'
        )
    if 'floor_seconds' in results['snnjax']:
        account = results['snnjax']
        lines.append(
            f'{"floor":21}{account["flops"] / 1e12:.3f} TFLOP in '
            f'{account["floor_seconds"]["compute"] * 1e3:.2f} ms, {account["bytes"] / 1e9:.2f} GB '
            f'in {account["floor_seconds"]["memory"] * 1e3:.2f} ms'
        )
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the networks of a command line; prints and writes each result as it arrives."""
    end = time.monotonic() + args.budget_seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = measure_speeds(args, folder)
        speeds = record['speeds']
        print(
            f'{record["card"]["device"]}: matrix product {speeds["flops"] / 1e12:.1f} TFLOP/s, '
            f'copy {speeds["bandwidth"] / 1e9:.0f} GB/s',
            flush=True,
        )
        record |= {'dtype': args.dtype, 'steps': args.steps, 'rounds': args.rounds, 'cases': {}}
        for key in args.only:
            left = end - time.monotonic()
            if left < args.least_seconds:
                print(f'{key}: skipped, {left:.0f} s left', flush=True)
                continue
            args.limit_seconds = min(args.limit_seconds, left)
            case = CASES[key]
            results = add_shares(measure(case, args, folder), speeds)
            record['cases'][key] = {**dataclasses.asdict(case), 'results': results}
            print(describe(key, case, args.dtype, results), flush=True)
            if args.json:
                args.json.write_text(json.dumps(record, indent=2) + '\n')
    return record


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--platform', default='gpu', choices=['gpu', 'cpu'])
    add('--only', nargs='+', choices=CASES, default=[key for key in CASES if key != 'tiny'])
    add('--peers', nargs='*', choices=PEERS, default=DEFAULT_PEERS)
    add('--dtype', default='bfloat16', choices=['bfloat16', 'float32'])
    add('--steps', type=int, default=20, help='steps of a round, with one wait at its end (20)')
    add('--rounds', type=int, default=5, help='timed rounds, in turns (5)')
    add('--tolerance', type=float, help='relative tolerance of losses (0.01; 0.1 in bfloat16)')
    add('--limit_seconds', type=float, default=240, help='limit of first steps and compiling (240)')
    add('--budget_seconds', type=float, default=840, help='limit for all networks (840)')
    add('--least_seconds', type=float, default=60, help='time needed to start a network (60)')
    add('--json', type=Path)
    for internal in ('--worker', '--weights', '--options', '--model'):
        add(internal, help=argparse.SUPPRESS)
    for internal in ('--size', '--batch', '--num_steps'):
        add(internal, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tolerance is None:
        args.tolerance = 0.01 if args.dtype == 'float32' else 0.1
    if args.worker:
        serve(args.worker, args)
        return
    # This process only makes weights, and leaves the GPU to its workers.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    run(args)


if __name__ == '__main__':
    main()
