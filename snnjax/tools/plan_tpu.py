r"""Tells whether a training fits a TPU, and how fast it could be, without one.

  python -m snnjax.tools.plan_tpu --config=configs/imagenet.py:depth=34 \
      --config.model.dtype=bfloat16 --topology=v5e:2x4 --images_per_chip=32

Compiles the training step of the configuration for that topology, which takes minutes, and prints,
for one chip: memory, operations, bytes that move, and what each of them takes at least at the
chip's published rates; then the hours that all steps and evaluations of the configuration take at
least, for which the steps of earlier phases and the evaluation are compiled, too. `--largest`
compiles again and again to find the largest batch that fits.
Needs libtpu: pip install 'snnjax[aot]'.
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
    """What a training step needs of one chip.

    Attributes:
      topology: that it was compiled for.
      chips: in it.
      images: of the batch, on each chip.
      problem: why it does not fit; '' where it does, and otherwise the rest is zero.
      arguments: bytes of parameters, statistics, the optimiser's state and the batch.
      temporaries: bytes of everything else.
      memory: bytes that the chip has.
      flops: operations; of a network whose layers are scanned neither these nor the traffic is
        known, as the compiler counts a loop once, and both are zero.
      traffic: bytes moved to and from memory.
      collectives: by name, how many there are and of how many bytes.
      compute_seconds: that the operations take at least.
      memory_seconds: that the traffic takes at least.
      compile_seconds: that tracing and compiling took here.
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
        """The least that a step takes: the longer of its operations and its traffic."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def images_per_second(self) -> float:
        """At most, of one chip."""
        return self.images / self.seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_with_config(make_parser(__doc__, _USAGE), argv, print_plan)


def make_parser(description: str | None, usage: str) -> ConfigParser:
    """Returns the parser of a command that plans; see `ConfigParser`."""
    parser = ConfigParser(description, usage)
    parser.add_argument(
        '--topology', default='v5e:2x4', help='kind of chip, and how many each way (v5e:2x4)'
    )
    parser.add_argument(
        '--images_per_chip', type=int, default=0, help="as many as the configuration's batch has"
    )
    parser.add_argument(
        '--largest', action='store_true', help='find the largest batch that fits, too'
    )
    add_json_argument(parser, optional=True)
    return parser


def print_plan(args: argparse.Namespace, config: ml_collections.ConfigDict) -> None:
    """Prints the plan that a command line asks for."""
    logging.set_verbosity(logging.ERROR)
    plan = plan_step(config, args.topology, args.images_per_chip)
    phases = plan_recipe(config, args.topology, args.images_per_chip, plan)
    most = None
    if args.largest:
        # Of microbatches each chip has equal parts.
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
    """Finds the least time of all steps and evaluations of a configuration.

    Evaluations are counted in batches of as many images as training has; that of the phase that
    follows, which closes a phase, is left out.

    Args:
      config: of a run.
      topology: as 'v5e:2x4'.
      images: of a batch, for each chip; 0 for the configuration's.
      last: the plan of the last phase's training step.

    Returns:
      The times of all phases, in order; none if the last step does not fit, or its layers are
      scanned.

    Raises:
      ConfigError: for a phase that cannot run on the topology.
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
            raise ConfigError(f'phase {name or "of the run"}: {problem}')
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


# Where it is not there, photos of its number and size stand in for it, but fewer to evaluate.
_IMAGENET_TEST = 50_000


def plan_step(
    config: ml_collections.ConfigDict, topology: str, images: int = 0, *, evaluation: bool = False
) -> Plan:
    """Compiles the training step of a configuration for a topology.

    Args:
      config: of a run. ImageNet need not be there: its shapes are known.
      topology: as 'v5e:2x4'.
      images: of a batch, for each chip; 0 for the configuration's.
      evaluation: plan a batch of its evaluation instead, of as many images.

    Raises:
      ConfigError: for an unknown topology, or a configuration that cannot run on it.
      DatasetNotPreparedError: for another data set that is not there.
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
            "model.scan_layers='auto' would be decided by this machine: say 'true' or 'false'"
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
    # Some chips show as two devices.
    per_chip = len(devices) / chips
    usage: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis()
    # The loop over microbatches is counted once, too; nearly all is done in it.
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


# There is no machine that libtpu could ask what it is; it complains at length where it has to.
_NO_TPU = {
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_ACCELERATOR_TYPE': 'v5litepod-8',
    'TPU_WORKER_HOSTNAMES': 'localhost',
}


def describe_topology(topology: str) -> tuple[Chip, int, Sequence[jax.Device]]:
    """The kind of chip, their number, and the devices that they show as.

    Raises:
      ConfigError: where there is no such topology, or no libtpu.
    """
    from jax.experimental import topologies

    kind, _, sides = topology.partition(':')
    if kind not in TPUS:
        raise ConfigError(f'unknown chip {kind!r} in --topology; {did_you_mean(kind, TPUS)}')
    if not re.fullmatch(r'\d+x\d+(x\d+)?', sides):
        raise ConfigError(f'--topology={topology} must be like v5e:2x4 or v4:2x2x1')
    if not importlib.util.find_spec('libtpu'):
        raise ConfigError("libtpu is missing, the compiler for TPUs: pip install 'snnjax[aot]'")
    for name, value in _NO_TPU.items():
        os.environ.setdefault(name, value)
    try:
        description = topologies.get_topology_desc(platform='tpu', topology_name=topology)
    except (RuntimeError, NotImplementedError) as error:
        raise ConfigError(f'--topology={topology} cannot be had: {error}') from error
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
    """What the compiler says of a lack of memory, in a line."""
    used = re.search(r'Used ([\d.]+\w) of ([\d.]+\w) hbm', error)
    return f'needs {used[1]} of {used[2]}' if used else error.splitlines()[0][:200]


def largest(fits: Callable[[int], bool], first: int) -> int:
    """The largest number that fits, to a sixteenth; 0 where even 1 does not.

    Args:
      fits: true up to some number.
      first: to begin with.
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
    """Returns the plan as a table, with the least time of all phases if it is known."""
    dtype = config.model.dtype or 'float32'
    rows: list[tuple[str, Any]] = [
        (
            f'{config.model.name}, T={config.model.num_steps}, {dtype}',
            f'{plan.topology}, {count(plan.images, "image")} on each of '
            f'{count(plan.chips, "chip")}',
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
                ('images a second', f'at most {plan.images_per_second:,.0f} a chip'),
            ]
        else:
            rows.append(('operations, bytes moved', 'not counted where layers are scanned'))
        rows += [
            (name, f'{number}, of {_short(size)}B')
            for name, (number, size) in sorted(plan.collectives.items())
        ]
        rows += recipe.to_rows(phases, plan.chips) if phases else []
        rows.append(('compiled in', f'{plan.compile_seconds:.0f} s'))
    if most is not None:
        rows.append(('largest batch', f'{count(most, "image")} a chip'))
    width = max(len(name) for name, _ in rows) + 2
    return '\n'.join(f'{name:{width}}{value}' for name, value in rows)


def _short(number: float) -> str:
    """With a prefix: 1.23 M."""
    for power, prefix in ((12, 'T'), (9, 'G'), (6, 'M'), (3, 'k')):
        if abs(number) >= 10**power:
            return f'{number / 10**power:.2f} {prefix}'
    return f'{number:.0f} '


if __name__ == '__main__':
    # The program is compiled for a TPU; what runs is this machine's processor.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    sys.exit(main())
