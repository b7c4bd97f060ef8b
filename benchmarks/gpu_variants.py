r"""Compares variants of a training step with the time that was predicted for each.

python benchmarks/gpu_variants.py --json=variants_imagenet34.json
python benchmarks/gpu_variants.py --case=cifar20 --variants fused_pallas flat_optimizer
python benchmarks/gpu_variants.py --case=imagenet34 --variants --profile=profile
python benchmarks/gpu_variants.py --platform=cpu --case=tiny --steps=3 --rounds=2

A variant changes one thing in the library's training step: XLA flags, an option of the network or
of the step, or a function that is replaced in the measuring process. The library itself is not
changed. Each variant runs in its own process, so a failure does not stop the others. All use the
same weights and images. The losses of three steps are compared with those of the unchanged step,
since no variant may change results beyond rounding.

The prediction is the time of the unchanged step times the ratio of the two floors. A floor is the
longer of the times for operations and for bytes, by XLA's cost estimate at the measured rates of a
matrix product and a copy. Effects outside that estimate are described in words. `--profile` writes
a trace of the unchanged step with a summary of its operations.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gpu_peers
from cards import floor_seconds
from gpu_peers import CASES, Worker, WorkerError
from step_patches import PATCHES


@dataclasses.dataclass(frozen=True)
class Variant:
    """A change to the training step.

    Attributes:
      expected: the effect expected before the measurement, with the reason.
      flags: the XLA flags.
      model: the options of the network.
      step: the options of `VariantProgram`.
      patch: a key of `step_patches.PATCHES`.
    """

    expected: str
    flags: str = ''
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    step: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patch: str = ''


BASE = 'as_it_is'

VARIANTS = {
    BASE: Variant('the unchanged library'),
    'fused_pallas': Variant(
        'faster by up to a seventh: in the backward pass, the sums of normalization do not read '
        "the cotangent and the convolution's output again, about 4 of 33 bytes per element",
        patch='fused_pallas',
    ),
    'fused_xla': Variant(
        'between the two: XLA may still read the arrays again for each sum', patch='fused_xla'
    ),
    'flat_optimizer': Variant(
        'the same bytes and fewer kernels: some microseconds for each parameter array, which only '
        'matters for CIFAR',
        step={'flat': True},
    ),
    'no_barrier': Variant(
        'slower: neurons are fused into each step of their backward pass, which reads the current '
        'of all earlier steps',
        patch='no_barrier',
    ),
    'time_outermost': Variant(
        'the same if XLA itself chooses time as the outermost axis; else copies at each '
        'convolution appear or disappear',
        patch='time_outermost',
    ),
    'nchw': Variant('slower: tensor cores need channels last', '--xla_gpu_force_conv_nchw=true'),
    'nhwc': Variant('the same: XLA chooses it in bfloat16', '--xla_gpu_force_conv_nhwc=true'),
    'raw_moments': Variant(
        'the same bytes except for the shift, which is read from one pixel per image',
        patch='raw_moments',
    ),
    'two_pass_moments': Variant(
        'slower: each output of a convolution is read once more', patch='two_pass_moments'
    ),
    'wide_words': Variant(
        'slower by two more bytes per neuron, written once and read twice', patch='wide_words'
    ),
    'unpacked': Variant('slower: float32 potentials of all steps are stored', patch='autodiff'),
    'remat_elementwise': Variant(
        'more operations; fewer bytes, if storing activations costs more than recomputing them',
        model={'remat': 'elementwise'},
    ),
    'remat_blocks': Variant(
        'a third more operations and thus slower, with less memory', model={'remat': 'blocks'}
    ),
    'scan_layers': Variant(
        'slower: the residuals of a loop are copied into stacks', model={'scan_layers': True}
    ),
    'donated_batch': Variant('the same time, less memory by a batch', step={'donate': (0, 1)}),
    'no_donation': Variant('the same time, more memory by a state', step={'donate': ()}),
    'autotune_off': Variant(
        'slower: convolutions use default algorithms', '--xla_gpu_autotune_level=0'
    ),
    'exhaustive_tiling': Variant(
        'no change: the search only tiles matrix products, of which there is one',
        '--xla_gpu_exhaustive_tiling_search=true',
    ),
    'no_command_buffers': Variant(
        'slower if kernels are short, as for CIFAR: the host launches each of them',
        '--xla_gpu_enable_command_buffer=',
    ),
    'deterministic': Variant(
        'slower if atomics are in use: the cost of bit-exact runs',
        '--xla_gpu_deterministic_ops=true',
    ),
    'float32': Variant('slower by twice the bytes and more operations', model={'dtype': None}),
}
"""Variants by name, the most promising first."""


class VariantProgram:
    """The training step of a variant, with a batch.

    Args:
      case: the network and its images.
      variant: the change.
      dtype: the dtype of activations and convolutions, unless the variant sets it.
    """

    def __init__(self, case: gpu_peers.Case, variant: Variant, dtype: str) -> None:
        import jax
        import jax.numpy as jnp
        import optax
        from peers import make_batch

        import snnjax
        from snnjax.models.params import stack_layers

        options = {'dtype': None if dtype == 'float32' else dtype, 'dropout': 0.0}
        library = snnjax.create_model(
            case.model, num_steps=case.num_steps, **{**options, **variant.model}
        )
        image = jnp.zeros((1, 64, 64, 3), jnp.float32)
        variables = jax.jit(library.unrolled().init)(jax.random.key(0), image)
        self._scans_layers = library.scans_layers
        if library.scans_layers:
            variables = {key: stack_layers(variables[key]) for key in ('params', 'batch_stats')}
        network = PATCHES[variant.patch](library) if variant.patch else library
        # Functions that were traced before a patch must be traced again.
        jax.clear_caches()
        optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9))
        if variant.step.get('flat'):
            optimizer = optax.flatten(optimizer)

        def train(state: Any, batch: Any) -> Any:
            params, batch_stats, opt_state = state
            images, labels = batch

            def loss_of(params: Any) -> Any:
                logits, updates = network.apply(
                    {'params': params, 'batch_stats': batch_stats},
                    images,
                    train=True,
                    mutable=['batch_stats'],
                )
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
                return jnp.mean(losses), updates['batch_stats']

            (loss, new_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), new_stats, opt_state), loss

        self._donates_batch = 1 in variant.step.get('donate', (0,))
        self._arrays = make_batch(case.batch, case.size, library.num_classes)
        self._batch = jax.device_put(self._arrays)
        params = variables['params']
        self._state = (params, variables['batch_stats'], optimizer.init(params))
        jitted = jax.jit(
            train,
            donate_argnums=variant.step.get('donate', (0,)),
            compiler_options=snnjax.models.compiler_options(jax.default_backend()),
        )
        start = time.perf_counter()
        self._train = jitted.lower(self._state, self._batch).compile()
        self._compile_seconds = time.perf_counter() - start

    def start_step(self) -> Any:
        """Starts a step without waiting for it."""
        import jax

        batch = self._batch
        if self._donates_batch:
            # A donated batch is gone after the step; the next one comes from the host.
            self._batch = jax.device_put(self._arrays)
        self._state, self._loss = self._train(self._state, batch)
        return self._loss

    def train(self) -> float:
        """Takes a training step, and returns the loss before the update."""
        return float(self.start_step())

    def wait(self) -> None:
        """Waits until all started steps are done."""
        import jax

        jax.block_until_ready((self._state, self._loss))

    def peak_bytes(self) -> int:
        """Returns the peak bytes that JAX held on the device."""
        from cards import peak_bytes

        return peak_bytes()

    def describe(self) -> dict[str, Any]:
        """Returns XLA's cost estimate of the step."""
        from cards import account

        cost = account(self._train) | {'compile_seconds': self._compile_seconds}
        # XLA's estimate counts the body of a loop once.
        return cost | ({'flops': 0.0, 'bytes': 0.0} if self._scans_layers else {})

    def profile(self, folder: str) -> dict[str, Any]:
        """Traces a few steps, and returns the summary of the trace."""
        import jax
        from profiles import summarize

        with jax.profiler.trace(folder):
            for _ in range(3):
                self.start_step()
            self.wait()
        return summarize(Path(folder), steps=3)


def serve(args: argparse.Namespace) -> None:
    """Serves as a variant, with one command per line and one line of JSON as answer."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w', buffering=1)
    # The output of libraries must not mix with the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    program = VariantProgram(CASES[args.case], VARIANTS[args.worker], args.dtype)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(' ')
        if command == 'profile':
            answer = program.profile(argument)
        else:
            answer = gpu_peers.carry_out(program, command, int(argument or 0))
        print(json.dumps(answer), file=answers)


def measure(name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measures a variant in a process of its own.

    Returns:
      The dict of ``losses``, ``seconds``, ``all_seconds``, ``peak_bytes`` and XLA's cost estimate,
      or of ``error``.
    """
    variables = gpu_peers.environment_of('snnjax', args.platform)
    flags = f'{os.environ.get("XLA_FLAGS", "")} {VARIANTS[name].flags}'
    arguments = [f'--{key}={getattr(args, key)}' for key in ('case', 'dtype', 'platform')]
    worker = Worker(
        name,
        arguments,
        variables | {'XLA_FLAGS': flags.strip()},
        folder / name,
        script=Path(__file__),
    )

    def ask(command: str) -> dict[str, Any]:
        worker.ask(command)
        return worker.answer(args.limit_seconds)

    try:
        result = {'losses': ask('losses 3')['losses']} | ask('describe')
        times = [ask(f'time {args.steps}') for _ in range(args.rounds + 1)]
        # The first round is a warm-up.
        result['all_seconds'] = [answer['seconds'] for answer in times[1:]]
        result['seconds'] = statistics.median(result['all_seconds'])
        result['peak_bytes'] = times[-1]['peak_bytes']
        if name == BASE and args.profile:
            result['profile'] = ask(f'profile {args.profile.absolute()}')
        return result
    except WorkerError as error:
        return {'error': str(error)}
    finally:
        worker.close()


def predict(
    base: Mapping[str, Any], result: Mapping[str, Any], speeds: Mapping[str, float]
) -> float | None:
    """Returns the predicted seconds of a variant.

    Args:
      base: the measured results of the unchanged step.
      result: the cost estimate of the variant.
      speeds: the result of `cards.measure_speeds`.

    Returns:
      The measured time times the ratio of the floors; None if an estimate is missing.
    """
    if not all(r.get('flops') and r.get('bytes') for r in (base, result)):
        return None
    floors = [max(floor_seconds(dict(r), dict(speeds)).values()) for r in (base, result)]
    return base['seconds'] * floors[1] / floors[0]


def describe(name: str, result: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Returns the printed lines of a variant."""
    head = f'{name:20}'
    expected = f'{"":20}expected: {VARIANTS[name].expected}'
    if 'error' in result:
        return f'{head}{result["error"]}\n{expected}'
    predicted = result.get('predicted_seconds')
    of_bytes = f'{predicted * 1e3:8.2f} ms predicted' if predicted else f'{"not predicted":>21}'
    ratio = f'{result["seconds"] / base["seconds"]:6.3f}' if 'seconds' in base else ''
    difference = ''
    if 'losses' in base:
        worst = max(abs(a / b - 1) for a, b in zip(result['losses'], base['losses'], strict=True))
        difference = f', losses differ by {worst:.1e}'
    return (
        f'{head}{result["seconds"] * 1e3:8.2f} ms{of_bytes}{ratio} of the unchanged step, '
        f'{result["bytes"] / 1e9:.2f} GB moved, {result["peak_bytes"] / 1e9:.2f} GB peak'
        f'{difference}\n{expected}'
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the variants of a command line; prints and writes each result as it arrives."""
    end = time.monotonic() + args.budget_seconds
    case = CASES[args.case]
    names = [BASE, *(name for name in args.variants if name != BASE)]
    with tempfile.TemporaryDirectory() as folder:
        record = gpu_peers.measure_speeds(args, Path(folder))
        record |= {'case': args.case, **dataclasses.asdict(case), 'dtype': args.dtype}
        record |= {'steps': args.steps, 'rounds': args.rounds, 'variants': {}}
        speeds = record['speeds']
        print(
            f'{case.model}, {case.batch} images of {case.size}x{case.size}, T={case.num_steps}, '
            f'{args.dtype}, {record["card"]["device"]}: {speeds["flops"] / 1e12:.1f} TFLOP/s, '
            f'{speeds["bandwidth"] / 1e9:.0f} GB/s',
            flush=True,
        )
        limit = args.limit_seconds
        for name in names:
            left = end - time.monotonic()
            if left < args.least_seconds:
                print(f'{name}: skipped, {left:.0f} s left', flush=True)
                continue
            args.limit_seconds = min(limit, left)
            result = measure(name, args, Path(folder))
            record['variants'][name] = result
            base = record['variants'][BASE]
            if 'seconds' in base and 'seconds' in result:
                result['predicted_seconds'] = predict(base, result, speeds)
            print(describe(name, result, base), flush=True)
            if args.json:
                args.json.write_text(json.dumps(record, indent=2) + '\n')
    return record


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add('--platform', default='gpu', choices=['gpu', 'cpu'])
    add('--case', default='imagenet34', choices=CASES, help='network and images (imagenet34)')
    add('--variants', nargs='*', choices=VARIANTS, default=list(VARIANTS), metavar='NAME')
    add('--dtype', default='bfloat16', choices=['bfloat16', 'float32'])
    add('--steps', type=int, default=20, help='steps of a round, with one wait at its end (20)')
    add('--rounds', type=int, default=5, help='timed rounds of each variant (5)')
    add('--limit_seconds', type=float, default=200, help='limit of an answer and compiling (200)')
    add('--budget_seconds', type=float, default=840, help='limit for all variants (840)')
    add('--least_seconds', type=float, default=60, help='time needed to start a variant (60)')
    add('--profile', type=Path, help='folder for a trace of the unchanged step, and its summary')
    add('--json', type=Path)
    add('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args)
    else:
        run(args)


if __name__ == '__main__':
    main()
