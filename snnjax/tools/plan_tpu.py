r"""Plans a training on a TPU without one: memory, and lower bounds on the time.

  python -m snnjax.tools.plan_tpu --config=configs/imagenet.py:depth=34 \
      --config.model.dtype=bfloat16 --topology=v5e:2x4 --images_per_chip=32

The command compiles the training step of the configuration for the topology, which takes minutes.
It prints, for one chip, the memory, the operations and the bytes moved, with lower bounds on their
times from the published rates of the chip. It also prints a lower bound on the hours of the whole
run; for this, the training steps of earlier phases and the evaluation are compiled, too. With
--largest, it compiles several batch sizes to find the largest one that fits.

The command needs libtpu: pip install 'snnjax[aot]'.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from snnjax.errors import ConfigError
from snnjax.spelling import count, did_you_mean
from snnjax.tools import recipe
from snnjax.tools.collectives import count_collectives
from snnjax.tools.command_line import add_json_argument
from snnjax.tools.config_arguments import ConfigParser, run_with_config
from snnjax.train.chips import TPUS, Chip

if TYPE_CHECKING:
    import jax
    import ml_collections

_USAGE = 'python -m snnjax.tools.plan_tpu --config=configs/NAME.py --topology=v5e:2x4'


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cost of a training step on one chip.

    Attributes:
      topology: the topology that the step was compiled for, for example 'v5e:2x4'.
      chips: the number of chips of the topology.
      images: the number of images of the batch per chip.
      problem: the reason why the step does not fit; '' if it fits. If it does not fit, the
        following values are 0, except for ``memory``.
      arguments: the bytes of parameters, running statistics, optimizer state and batch.
      temporaries: the bytes of all other arrays.
      memory: the bytes of memory of the chip.
      flops: the number of floating-point operations; 0 if the layers are scanned, because the
        compiler counts the body of a loop only once.
      traffic: the bytes moved from and to memory; 0 if the layers are scanned.
      collectives: the number of collectives and their bytes, by name.
      compute_seconds: the lower bound on the time of the operations, in seconds.
      memory_seconds: the lower bound on the time of the traffic, in seconds.
      compile_seconds: the time of tracing and compiling on this machine, in seconds.
    """

    topology: str
    chips: int
    images: int
    problem: str = ''
    arguments: float = 0
    temporaries: float = 0
    memory: float = 0
    flops: float = 0
    traffic: float = 0
    collectives: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    compute_seconds: float = 0
    memory_seconds: float = 0
    compile_seconds: float = 0

    @property
    def seconds(self) -> float:
        """Returns the lower bound on the time of a step: the longer of operations and traffic."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def images_per_second(self) -> float:
        """Returns the upper bound on the images per second of one chip."""
        return self.images / self.seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_with_config(make_parser(__doc__, _USAGE), argv, print_plan)


def make_parser(description: str | None, usage: str) -> ConfigParser:
    """Returns the parser of a planning command.

    Args:
      description: the docstring of the command.
      usage: an example of the command.
    """
    parser = ConfigParser(description, usage)
    parser.add_argument(
        '--topology',
        default='v5e:2x4',
        help='kind of chip and layout of the chips; default v5e:2x4',
    )
    parser.add_argument(
        '--images_per_chip',
        type=int,
        default=0,
        help='number of images per chip; default: batch_size of the configuration over all chips',
    )
    parser.add_argument(
        '--largest', action='store_true', help='also find the largest batch that fits'
    )
    add_json_argument(parser, optional=True)
    return parser


def print_plan(args: argparse.Namespace, config: ml_collections.ConfigDict) -> None:
    """Prints the plan of a configuration.

    Args:
      args: the parsed arguments of `make_parser`.
      config: the configuration of the run.
    """
    logging.set_verbosity(logging.ERROR)
    plan = plan_step(config, args.topology, args.images_per_chip)
    phases = plan_recipe(config, args.topology, args.images_per_chip, plan)
    most = None
    if args.largest:
        # The images per chip must be a multiple of the number of microbatches.
        unit = config.microbatches
        most = unit * largest(
            lambda parts: not plan_step(config, args.topology, unit * parts).problem,
            first=max(1, plan.images // unit),
        )
    if args.json:
        of_run = recipe.to_json(phases, plan.chips) if phases else None
        args.json.write(dataclasses.asdict(plan) | {'recipe': of_run, 'largest_images': most})
    if not (args.json and args.json.is_stdout):
        print(describe(config, plan, most, phases))


def plan_recipe(
    config: ml_collections.ConfigDict, topology: str, images: int, last: Plan
) -> list[recipe.PhaseTime]:
    """Computes lower bounds on the time of all training steps and evaluations of a run.

    Evaluation batches are counted with the batch size of training. The evaluation that a phase
    makes with the settings of the following phase is left out.

    Args:
      config: the configuration of the run.
      topology: the topology, for example 'v5e:2x4'.
      images: the number of images of a batch per chip; 0 for that of the configuration.
      last: the plan of the training step of the last phase.

    Returns:
      The times of all phases in order; empty if the step of the last phase does not fit, or its
      layers are scanned.

    Raises:
      ConfigError: if a phase cannot run on the topology.
    """
    from snnjax.train.config import phase_configs
    from snnjax.train.experiment import set_up

    if last.problem or not last.flops:
        return []
    times = []
    for name, phase in phase_configs(config).items():
        step = plan_step(phase, topology, images) if name else last
        evaluation = plan_step(phase, topology, images, evaluation=True)
        if problem := step.problem or evaluation.problem:
            raise ConfigError(f'phase {name or "(last)"} does not fit: {problem}')
        known = _with_known_data(phase)
        known.batch_size = last.images * last.chips if images else phase.batch_size
        load = set_up(known).dataset.load
        is_imagenet = phase.data.name == 'imagenet'
        test_images = _IMAGENET_TEST if is_imagenet else len(load('test'))
        times.append(
            recipe.phase_time(
                name, known, len(load('train')), test_images, step.seconds, evaluation.seconds
            )
        )
    return times


# If ImageNet is missing, fake_imagenet replaces it, which has the same training images but fewer
# test images.
_IMAGENET_TEST = 50_000


def plan_step(
    config: ml_collections.ConfigDict, topology: str, images: int = 0, *, evaluation: bool = False
) -> Plan:
    """Compiles the training step of a configuration for a topology.

    Args:
      config: the configuration of a run. ImageNet need not be prepared: its shapes are known.
      topology: the topology, for example 'v5e:2x4'.
      images: the number of images of a batch per chip; 0 for that of the configuration.
      evaluation: True to plan an evaluation step with the same batch size instead.

    Raises:
      ConfigError: if the topology is unknown, or the configuration cannot run on it.
      DatasetNotPreparedError: if a data set other than ImageNet is not prepared.
    """
    import jax

    from snnjax.train.experiment import check
    from snnjax.train.program import build_program
    from snnjax.train.sharding import make_mesh

    if images < 0:
        raise ConfigError(f'--images_per_chip={images} must be at least 0')
    chip, chips, devices = describe_topology(topology)
    config = _with_known_data(config)
    if config.model.scan_layers == 'auto':
        raise ConfigError(
            "model.scan_layers='auto' would be decided by this machine: set it to 'true' or 'false'"
        )
    config.batch_size = images * chips or config.batch_size
    config.eval_batch_size = len(devices)
    *_, setup = check(config, len(devices))
    mesh = make_mesh(devices, config.fsdp)
    plan = Plan(topology, chips, config.batch_size // chips)
    program = build_program(setup.config, setup.dataset, setup.model, mesh, steps_per_epoch=1000)
    shape = setup.dataset.image_shape
    if evaluation and config.data.eval_size:
        shape = (config.data.eval_size, config.data.eval_size, shape[-1])
    batch = {
        'image': jax.ShapeDtypeStruct((config.batch_size, *shape), 'uint8'),
        'label': jax.ShapeDtypeStruct((config.batch_size,), 'int32'),
    }
    if evaluation:
        batch['mask'] = jax.ShapeDtypeStruct((config.batch_size,), 'bool')
    abstract = program.abstract_batch(batch)
    start = time.perf_counter()
    try:
        lowered = (
            program.eval_step.lower(program.abstract_variables(), abstract)
            if evaluation
            else program.train_step.lower(program.abstract_state(), abstract)
        )
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        return dataclasses.replace(plan, problem=_reason(str(error)), memory=chip.memory)
    seconds = time.perf_counter() - start
    # JAX sees some chips as two devices.
    per_chip = len(devices) / chips
    usage: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis()
    # The compiler counts the loop over microbatches once; nearly all of the step is in this loop.
    parts = 1 if evaluation else config.microbatches
    times = 0 if config.model.scan_layers == 'true' else per_chip * parts
    flops, traffic = cost['flops'] * times, cost['bytes accessed'] * times
    return dataclasses.replace(
        plan,
        arguments=usage.argument_size_in_bytes * per_chip,
        temporaries=usage.temp_size_in_bytes * per_chip,
        memory=chip.memory,
        flops=flops,
        traffic=traffic,
        collectives=count_collectives(compiled.as_text() or ''),
        compute_seconds=flops / chip.flops,
        memory_seconds=traffic / chip.bandwidth,
        compile_seconds=seconds,
    )


# Without these, libtpu looks for a TPU machine and prints long warnings.
_NO_TPU = {
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_ACCELERATOR_TYPE': 'v5litepod-8',
    'TPU_WORKER_HOSTNAMES': 'localhost',
}


def describe_topology(topology: str) -> tuple[Chip, int, Sequence[jax.Device]]:
    """Returns the kind of chip, the number of chips, and their devices in JAX.

    Args:
      topology: the topology, for example 'v5e:2x4'.

    Raises:
      ConfigError: if the topology does not exist, or libtpu is missing.
    """
    from jax.experimental import topologies

    kind, _, sides = topology.partition(':')
    if kind not in TPUS:
        raise ConfigError(f'unknown chip {kind!r} in --topology; {did_you_mean(kind, TPUS)}')
    if not re.fullmatch(r'\d+x\d+(x\d+)?', sides):
        raise ConfigError(f'--topology={topology} must have the form v5e:2x4 or v4:2x2x1')
    if not importlib.util.find_spec('libtpu'):
        raise ConfigError("the TPU compiler libtpu is missing: pip install 'snnjax[aot]'")
    for name, value in _NO_TPU.items():
        os.environ.setdefault(name, value)
    try:
        description = topologies.get_topology_desc(platform='tpu', topology_name=topology)
    except (RuntimeError, NotImplementedError) as error:
        raise ConfigError(f'--topology={topology} is not available: {error}') from error
    chips = math.prod(map(int, sides.split('x')))
    return TPUS[kind], chips, description.devices


def _with_known_data(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    from snnjax.data import DatasetNotPreparedError
    from snnjax.train.experiment import set_up

    config = config.copy_and_resolve_references()
    try:
        set_up(config)
    except DatasetNotPreparedError:
        if config.data.name != 'imagenet':
            raise
        config.data.name = 'fake_imagenet'
    return config


def _reason(error: str) -> str:
    """Returns the compiler's message about missing memory in one line."""
    used = re.search(r'Used ([\d.]+\w) of ([\d.]+\w) hbm', error)
    return f'needs {used[1]} of {used[2]}' if used else error.splitlines()[0][:200]


def largest(fits: Callable[[int], bool], first: int) -> int:
    """Returns the largest number that fits, to within a sixteenth; 0 if 1 does not fit.

    Args:
      fits: the function that returns True up to some number.
      first: the number to try first.
    """
    low, high = 0, first
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def describe(
    config: ml_collections.ConfigDict,
    plan: Plan,
    most: int | None,
    phases: Sequence[recipe.PhaseTime] = (),
) -> str:
    """Returns the plan as a table.

    Args:
      config: the configuration of the run.
      plan: the plan of the training step.
      most: the largest number of images per chip that fits; None if not searched for.
      phases: the lower bounds on the times of all phases; empty if not known.
    """
    dtype = config.model.dtype or 'float32'
    rows: list[tuple[str, Any]] = [
        (
            f'{config.model.name}, T={config.model.num_steps}, {dtype}',
            f'{plan.topology}, {count(plan.chips, "chip")}, {count(plan.images, "image")} per chip',
        )
    ]
    if plan.problem:
        rows.append(('does not fit', plan.problem))
    else:
        free = plan.memory - plan.arguments - plan.temporaries
        rows += [
            ('state and batch', f'{_short(plan.arguments)}B'),
            ('temporaries', f'{_short(plan.temporaries)}B'),
            ('memory left', f'{_short(free)}B of {_short(plan.memory)}B'),
        ]
        if plan.flops:
            rows += [
                ('operations', f'{_short(plan.flops)}FLOP, {plan.compute_seconds * 1e3:.2f} ms'),
                ('bytes moved', f'{_short(plan.traffic)}B, {plan.memory_seconds * 1e3:.2f} ms'),
                ('images per second', f'at most {plan.images_per_second:,.0f} per chip'),
            ]
        else:
            rows.append(('operations, bytes moved', 'not counted if layers are scanned'))
        rows += [
            (name, f'{number}, {_short(size)}B in total')
            for name, (number, size) in sorted(plan.collectives.items())
        ]
        rows += recipe.to_rows(phases, plan.chips) if phases else []
        rows.append(('compiled in', f'{plan.compile_seconds:.0f} s'))
    if most is not None:
        rows.append(('largest batch', f'{count(most, "image")} per chip'))
    width = max(len(name) for name, _ in rows) + 2
    return '\n'.join(f'{name:{width}}{value}' for name, value in rows)


def _short(number: float) -> str:
    """Returns a number with a metric prefix, as ``1.23 M``."""
    for power, prefix in ((12, 'T'), (9, 'G'), (6, 'M'), (3, 'k')):
        if abs(number) >= 10**power:
            return f'{number / 10**power:.2f} {prefix}'
    return f'{number:.0f} '


if __name__ == '__main__':
    # The step is compiled for a TPU but JAX itself runs on the CPU.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    sys.exit(main())
