r"""Compares one training step and one inference of MS-ResNet with the same in PyTorch.

pip install '.[bench]'
python benchmarks/peers.py
python benchmarks/peers.py --model=ms_resnet18 --size=224 --batch=2 --num_steps=4 --json=out.json

The same network runs with the same weights and images in float32: as a plain PyTorch loop, with
SpikingJelly's multi-step neurons, with snnTorch's neurons, and in snnjax. Each program has a
process of its own. Losses over three training steps must agree before anything is timed. Then the
programs take turns of three steps, while the others sleep. Printed are the medians, and the ratio
to the fastest other program. Memory is the peak of the process, including libraries and
compilation.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

PEERS = ('pytorch', 'spikingjelly', 'snntorch')


class Program(Protocol):
    """The interface of a measured program."""

    def put(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Takes images (B, H, W, C) float32 and labels (B,) int32."""
        ...

    def train(self) -> float:
        """Takes a step of SGD with momentum and an L2 penalty; returns the loss before it."""
        ...

    def infer(self) -> float:
        """Returns the loss of the batch in inference, with running statistics."""
        ...


class SnnjaxProgram:
    """The program of this library.

    Args:
      model: the name of the network.
      num_steps: the number of time steps T.
      weights: the file that `make_weights` has written.
      options: further options of the network.
    """

    def __init__(
        self, model: str, num_steps: int, weights: Path, options: Mapping[str, Any] | None = None
    ) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        import snnjax
        from snnjax.weights.torch_state import from_state_dict

        network = snnjax.create_model(model, num_steps=num_steps, **(options or {}))
        optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9))

        def cross_entropy(logits: Any, labels: Any) -> Any:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses)

        def train(state: Any, images: Any, labels: Any) -> Any:
            params, batch_stats, opt_state = state

            def loss_of(params: Any) -> Any:
                logits, updates = network.apply(
                    {'params': params, 'batch_stats': batch_stats},
                    images,
                    train=True,
                    mutable=['batch_stats'],
                )
                return cross_entropy(logits, labels), updates['batch_stats']

            (loss, new_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), new_stats, opt_state), loss

        def infer(state: Any, images: Any, labels: Any) -> Any:
            params, batch_stats, _ = state
            logits = network.apply({'params': params, 'batch_stats': batch_stats}, images)
            return cross_entropy(logits, labels)

        compiler_options = snnjax.models.compiler_options(jax.default_backend())
        self._train = jax.jit(train, donate_argnums=0, compiler_options=compiler_options)
        self._infer = jax.jit(infer, compiler_options=compiler_options)
        variables = from_state_dict(network, dict(np.load(weights)))
        params = variables['params']
        self._state = (params, variables['batch_stats'], optimizer.init(params))

    def put(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Takes a batch (`Program.put`)."""
        import jax

        self._batch = jax.device_put((images, labels))

    def train(self) -> float:
        """Takes a training step (`Program.train`)."""
        return float(self.start_step())

    def start_step(self) -> Any:
        """Starts a step without waiting for it."""
        self._state, self._loss = self._train(self._state, *self._batch)
        return self._loss

    def infer(self) -> float:
        """Returns the loss in inference (`Program.infer`)."""
        return float(self._infer(self._state, *self._batch))

    def wait(self) -> None:
        """Waits until all started steps are done."""
        import jax

        jax.block_until_ready((self._state, self._loss))

    def peak_bytes(self) -> int:
        """Returns the peak bytes that JAX held on the device."""
        from cards import peak_bytes

        return peak_bytes()

    def describe(self) -> dict[str, Any]:
        """Returns XLA's cost estimate of the training step."""
        from cards import account

        return account(self._train.lower(self._state, *self._batch).compile())


def make_weights(model: str, path: Path) -> dict[str, Any]:
    """Writes initial weights by PyTorch name, and returns options of `torch_networks.MSResNet`."""
    import jax

    import snnjax
    from snnjax.models.resnets import STEMS
    from snnjax.weights.torch_state import to_state_dict

    network = snnjax.create_model(model, num_steps=1)
    image = np.zeros((1, 64, 64, 3), np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), image)
    np.savez(path, **to_state_dict(network, variables))
    return {
        'num_classes': network.num_classes,
        'stem': (STEMS[network.stem], network.stem_stride, 3 if network.stem == 'conv3x3x3' else 1),
        'blocks': network.blocks,
        'widths': network.widths,
        'strides': network.strides,
        'pool': network.avgpool_shortcut,
    }


def make_batch(batch: int, size: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels for `Program.put`, the same in every call."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, size, size, 3)).astype(np.float32)
    return images, rng.integers(0, num_classes, batch, dtype=np.int32)


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """Returns a function's result and the seconds that it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def work(name: str, args: argparse.Namespace) -> None:
    """Serves as one of the programs, with one command per line and one line of JSON as answer."""
    program: Program
    options = json.loads(args.options)
    if name == 'snnjax':
        program = SnnjaxProgram(args.model, args.num_steps, args.weights)
    else:
        from torch_networks import TorchProgram

        options |= {'num_steps': args.num_steps, 'stem': tuple(options['stem'])}
        program = TorchProgram(name, options, dict(np.load(args.weights)), args.threads)
    program.put(*make_batch(args.batch, args.size, options['num_classes']))
    for line in sys.stdin:
        loss, seconds = timed(getattr(program, line.strip()))
        result = {
            'loss': loss,
            'seconds': seconds,
            'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(result), flush=True)


class Worker:
    """A program in a process of its own."""

    def __init__(self, name: str, arguments: Sequence[str], threads: int) -> None:
        self.name = name
        cores = {f'{library}_NUM_THREADS': str(threads) for library in ('OMP', 'MKL')}
        self._process = subprocess.Popen(
            [sys.executable, __file__, f'--worker={name}', *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | cores | {'JAX_PLATFORMS': 'cpu', 'JAX_ENABLE_COMPILATION_CACHE': '0'},
        )

    def run(self, command: str) -> dict[str, float]:
        """Runs a command, and returns ``loss``, ``seconds`` and ``peak_bytes`` so far."""
        print(command, file=self._process.stdin, flush=True)
        line = next(iter(self._process.stdout or ()), None)
        if line is None:
            raise RuntimeError(f'{self.name} ended with status {self._process.wait()}')
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measures all programs in turns.

    Raises:
      ValueError: if the losses do not agree.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / 'weights.npz'
        options = make_weights(args.model, weights)
        arguments = [
            *(f'--{key}={getattr(args, key)}' for key in ('model', 'size', 'batch', 'num_steps')),
            f'--threads={args.threads}',
            f'--weights={weights}',
            f'--options={json.dumps(options)}',
        ]
        workers = [Worker(name, arguments, args.threads) for name in ('snnjax', *args.peers)]
        results: dict[str, Any] = {}
        try:
            for command in ('train', 'infer'):
                first = [[worker.run(command) for _ in range(3)] for worker in workers]
                losses = np.array([[run['loss'] for run in runs] for runs in first])
                if command == 'train' and not np.allclose(losses, losses[0], rtol=args.tolerance):
                    raise ValueError(f'losses of {args.model} do not agree:\n{losses}')
                runs: list[list[dict[str, float]]] = [[] for _ in workers]
                for _ in range(args.rounds):
                    for worker, done in zip(workers, runs, strict=True):
                        done += [worker.run(command) for _ in range(3)]
                for i, worker in enumerate(workers):
                    seconds = statistics.median(run['seconds'] for run in runs[i])
                    results.setdefault(worker.name, {})[command] = {
                        'seconds': seconds,
                        # The extra time of the first call, most of it compilation.
                        'first_seconds': first[i][0]['seconds'] - seconds,
                        'peak_bytes': runs[i][-1]['peak_bytes'],
                        'losses': losses[i].tolist(),
                    }
        finally:
            for worker in workers:
                worker.close()
    return results


def describe(args: argparse.Namespace, results: dict[str, Any]) -> str:
    """Returns a table of the results."""
    lines = [
        f'{args.model}, {args.batch} images of {args.size}x{args.size}, T={args.num_steps}, '
        f'{args.threads} threads, medians of {3 * args.rounds}',
        f'{"":14}{"train":>10}{"ratio":>7}{"peak":>10}{"ratio":>7}{"first":>9}'
        f'{"infer":>10}{"ratio":>7}',
    ]
    fastest = {
        (command, key): min(results[peer][command][key] for peer in args.peers)
        for command in ('train', 'infer')
        for key in ('seconds', 'peak_bytes')
    }
    for name, result in results.items():
        train, infer = result['train'], result['infer']
        lines.append(
            f'{name:14}{train["seconds"]:8.3f} s'
            f'{train["seconds"] / fastest["train", "seconds"]:7.2f}'
            f'{train["peak_bytes"] / 1e9:7.2f} GB'
            f'{train["peak_bytes"] / fastest["train", "peak_bytes"]:7.2f}'
            f'{train["first_seconds"]:7.1f} s'
            f'{infer["seconds"]:8.3f} s{infer["seconds"] / fastest["infer", "seconds"]:7.2f}'
        )
    return '\n'.join(lines)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='ms_resnet20')
    parser.add_argument('--size', type=int, default=32, help='height and width of the images')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--num_steps', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=11)
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--peers', nargs='+', default=PEERS, choices=PEERS)
    parser.add_argument('--tolerance', type=float, default=0.01, help='relative, of losses (0.01)')
    parser.add_argument('--json', type=Path)
    for internal in ('--worker', '--weights', '--options'):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args)
        return
    results = measure(args)
    print(describe(args, results))
    if args.json:
        libraries = [peer for peer in args.peers if peer != 'pytorch']
        packages = ('jax', 'jaxlib', 'torch', *libraries)
        record = {
            'model': args.model,
            **{key: getattr(args, key) for key in ('size', 'batch', 'num_steps', 'threads')},
            'rounds': args.rounds,
            'packages': {name: importlib.metadata.version(name) for name in packages},
            'python': platform.python_version(),
            'results': results,
        }
        args.json.write_text(json.dumps(record, indent=2) + '\n')


if __name__ == '__main__':
    main()
