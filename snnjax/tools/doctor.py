"""Looks at an installation, and says what is wrong with it and what to do.

  python -m snnjax.tools.doctor
  python -m snnjax.tools.doctor --data.dir=/mnt/data

A line for each check: PASS, FAIL with what mends it, or SKIP where there is nothing to look at. The
last one trains a small network for some steps, and saves and restores it in a temporary folder.

Exit status: 0, or 1 where a check fails.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import importlib.metadata
import itertools
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from snnjax.errors import run_command
from snnjax.paths import expand
from snnjax.tools.command_line import add_argument, new_parser

# What does not come with Python is imported by the check that looks at it: where it is missing, the
# others still tell what they find.

PACKAGE = 'snnjax'
DATA_DIR = '~/snnjax_data'
# In GiB: prepared, CIFAR-10 takes 0.2 of a disk; training on the digits 0.7 of memory.
MIN_DISK, MIN_MEMORY = 1, 1
ACCELERATORS = {'/dev/nvidia0': 'cuda', '/dev/accel0': 'tpu'}
"""Devices of the operating system, and the extra with which JAX uses them."""
TRAINING_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
      status: 'PASS', 'FAIL' or 'SKIP'.
      found: in words.
      fix: what to do, where there is something.
    """

    status: str
    found: str
    fix: str = ''

    def line(self, name: str) -> str:
        """As it is printed, under the name of the check."""
        what = f'; {"fix: " if self.status == "FAIL" else ""}{self.fix}' if self.fix else ''
        return f'{self.status}  {name:19}{" ".join(self.found.split())}{what}'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = new_parser(__doc__)
    add_argument(
        parser,
        '--data.dir',
        '--data_dir',
        dest='data_dir',
        type=expand,
        default=DATA_DIR,
        metavar='DIR',
        help=f'folder of prepared data; {DATA_DIR}',
    )
    # Where a package is missing, `parse_and_run` could not begin.
    return run_command(lambda: _check(parser.parse_args(argv)))


def _check(args: argparse.Namespace) -> int:
    failed = False
    for name, check in make_checks(args.data_dir).items():
        result = attempt(check)
        print(result.line(name), flush=True)
        failed |= result.status == 'FAIL'
    return int(failed)


def make_checks(data_dir: Path) -> Mapping[str, Callable[[], Result]]:
    """All checks by name, in order."""
    return {
        'python': check_python,
        'packages': check_packages,
        'extras': check_extras,
        'devices': check_devices,
        'memory': check_memory,
        'data folder': functools.partial(check_folder, data_dir),
        'data sets': functools.partial(check_data_sets, data_dir),
        'compilation cache': check_cache,
        'training': check_training,
    }


def attempt(check: Callable[[], Result]) -> Result:
    """What a check finds, or that it breaks off, which is a finding, too."""
    try:
        return check()
    except ImportError as error:
        return Result('FAIL', str(error), f'pip install {error.name or PACKAGE}')
    except Exception as error:
        return Result('FAIL', f'{type(error).__name__}: {error}', 'mend what fails above first')


def check_python() -> Result:
    """The version of Python."""
    try:
        needed = importlib.metadata.metadata(PACKAGE)['Requires-Python']
    except importlib.metadata.PackageNotFoundError:
        return _not_installed()
    version = platform.python_version()
    if not SpecifierSet(needed).contains(version, prereleases=True):
        return Result('FAIL', f'{version}, needs {needed}', f'install Python {needed}')
    return Result('PASS', f'{version}, needs {needed}')


def _not_installed() -> Result:
    return Result('SKIP', f'{PACKAGE} is not installed, what it needs is unknown', 'pip install .')


def check_packages() -> Result:
    """The versions of the packages that are always needed."""
    try:
        needed = requirements_of(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return _not_installed()
    problems = [problem for requirement in needed for problem in problems_of(requirement)]
    if problems:
        names = ' '.join(f"'{r.name}{r.specifier}'" for r in needed if problems_of(r))
        return Result('FAIL', ', '.join(problems), f'pip install {names}')
    versions = [f'{name} {importlib.metadata.version(name)}' for name in ('jax', 'flax', 'optax')]
    return Result('PASS', f'{len(needed)} as needed, {", ".join(versions)}')


def check_extras() -> Result:
    """Which optional packages are there; those that are have to be of the right version."""
    try:
        names = importlib.metadata.metadata(PACKAGE).get_all('Provides-Extra') or []
    except importlib.metadata.PackageNotFoundError:
        return _not_installed()
    problems = {
        name: [p for r in requirements_of(PACKAGE, name) for p in problems_of(r)] for name in names
    }
    old = {
        name: [problem for problem in found if not problem.endswith(_MISSING)]
        for name, found in problems.items()
    }
    if any(old.values()):
        wrong = [name for name in names if old[name]]
        found = ', '.join(sorted({problem for name in wrong for problem in old[name]}))
        return Result('FAIL', found, f"pip install '{PACKAGE}[{','.join(wrong)}]'")
    there = ', '.join(name for name in names if not problems[name]) or 'none'
    absent = ', '.join(name for name in names if problems[name]) or 'none'
    how = f", to be had with pip install '{PACKAGE}[NAME]'" if absent != 'none' else ''
    return Result('PASS', f'there: {there}; not there: {absent}{how}')


_MISSING = ' is missing'


def requirements_of(package: str, extra: str = '') -> list[Requirement]:
    """What an installed package needs, or what one of its extras needs beside that.

    Raises:
      importlib.metadata.PackageNotFoundError: where it is not installed.
    """

    def is_needed(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({'extra': extra})

    every = [Requirement(text) for text in importlib.metadata.requires(package) or []]
    return [r for r in every if is_needed(r, extra) and not (extra and is_needed(r, ''))]


def problems_of(requirement: Requirement) -> list[str]:
    """What is not as it is required, in words; also of the extras that it names."""
    name = requirement.name
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return [f'{name}{_MISSING}']
    if not requirement.specifier.contains(version, prereleases=True):
        return [f'{name} {version} is not {requirement.specifier}']
    parts = [part for extra in requirement.extras for part in requirements_of(name, extra)]
    return [problem for part in parts for problem in problems_of(part)]


def check_devices() -> Result:
    """What JAX computes on, and whether there is an accelerator that it leaves alone."""
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        fix = 'unset JAX_PLATFORMS, or install the extra for this device'
        return Result('FAIL', f'JAX finds no device: {str(error).splitlines()[0]}', fix)
    kinds = collections.Counter(f'{device.platform} ({device.device_kind})' for device in devices)
    found = ', '.join(f'{number} {kind}' for kind, number in kinds.items())
    memory = (devices[0].memory_stats() or {}).get('bytes_limit')
    if memory:
        found += f', {_gib(memory)} for each'
    if devices[0].platform == 'cpu' and not os.environ.get('JAX_PLATFORMS'):
        for path, extra in ACCELERATORS.items():
            if Path(path).exists():
                fix = f"pip install '{PACKAGE}[{extra}]'"
                return Result('FAIL', f'{found}, though there is {path}', fix)
    return Result('PASS', found)


def check_memory() -> Result:
    """The main memory."""
    import psutil

    memory = psutil.virtual_memory()
    found = f'{_gib(memory.available)} of {_gib(memory.total)} available'
    if memory.available < MIN_MEMORY * 2**30:
        return Result('FAIL', found, f'end other programs: {MIN_MEMORY} GiB are needed')
    return Result('PASS', found)


def check_folder(folder: Path) -> Result:
    """Whether a folder, or the one that it will be made in, can be written, and has space."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    found = f'{folder}' if there == folder.absolute() else f'{folder}, not made yet'
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b'0' * 2**16)
    except OSError as error:
        return Result('FAIL', f'{found}: {error.strerror}', f'make {there} a folder to write to')
    free = shutil.disk_usage(there).free
    if free < MIN_DISK * 2**30:
        fix = f'at least {MIN_DISK} GiB are needed: make space'
        return Result('FAIL', f'{found}: {_gib(free)} free', fix)
    return Result('PASS', f'{found}: {_gib(free)} free')


def check_data_sets(data_dir: Path) -> Result:
    """Which data sets are prepared, with their numbers of examples and their size on disk."""
    from snnjax.data.records import Prepared, prepared_names

    sets = []
    for name in prepared_names(data_dir):
        try:
            prepared = Prepared(data_dir, name)
        except Exception as error:
            fix = f'remove {data_dir / name} and prepare it again'
            return Result('FAIL', f'{name} cannot be read: {error}', fix)
        splits = ', '.join(f'{size:,} {split}' for split, size in prepared.sizes.items())
        disk = sum(path.stat().st_size for path in prepared.folder.iterdir())
        sets.append(f'{name} ({splits}, {disk / 2**20:,.1f} MiB)')
    if not sets:
        command = 'python -m snnjax.tools.prepare DATASET --source=DOWNLOAD'
        return Result('SKIP', f'none in {data_dir}', f'{command} --data_dir={data_dir}')
    return Result('PASS', ', '.join(sets))


def check_cache() -> Result:
    """The folder of compiled programs."""
    from snnjax.models.compilation import compilation_cache

    return check_folder(compilation_cache())


def check_training() -> Result:
    """Trains a small network on the digits, and saves and restores it."""
    from snnjax.train.checkpoints import Checkpoints

    program, state, losses = train_a_little()
    if not all(map(math.isfinite, losses)):
        return Result('FAIL', f'the loss is not finite: {losses}', _OTHER_JAX)
    before, after = losses[0], sum(losses[-5:]) / 5
    if after >= before:
        return Result('FAIL', f'the loss does not fall: {before:.3f} to {after:.3f}', _OTHER_JAX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The first one waits, when it is left, until all is written.
        with Checkpoints(folder, keep=1) as checkpoints:
            checkpoints.save(len(losses), state, {})
        with Checkpoints(folder, keep=1) as checkpoints:
            restored, _ = checkpoints.restore(len(losses), program.abstract_state())
    if not have_same_bits(state, restored):
        return Result('FAIL', 'a restored checkpoint is another than was saved', _OTHER_JAX)
    return Result(
        'PASS',
        f'loss {before:.3f} to {after:.3f} in {len(losses)} steps; saved and restored bit for bit',
    )


_OTHER_JAX = 'install the versions of constraints/, and the newest driver of the device'


def train_a_little() -> tuple[Any, Any, list[float]]:
    """A `Program`, the state that some steps of it end with, and the loss in each of them."""
    import jax
    from absl import logging

    from snnjax.train.config import default_config
    from snnjax.train.experiment import set_up, training_batches
    from snnjax.train.program import build_program
    from snnjax.train.sharding import make_mesh, put_batch

    logging.set_verbosity(logging.ERROR)
    config = default_config()
    config.model.name = 'ms_resnet8'
    config.model.num_steps = 2
    config.data.name = 'digits'
    config.batch_size = jax.device_count() * max(1, 32 // jax.device_count())
    setup = set_up(config)
    batches = training_batches(setup)
    program = build_program(config, setup.dataset, setup.model, make_mesh(), batches.per_epoch)
    state, losses = program.init(), []
    for batch in itertools.islice(batches.iterate(0, config.data.workers), TRAINING_STEPS):
        state, sums = program.train_step(state, put_batch(batch, program.batch_sharding))
        losses.append(float(sums['loss'] / sums['images']))
    return program, state, losses


def have_same_bits(one: Any, other: Any) -> bool:
    """Whether two trees hold the same arrays, also where they are not numbers."""
    import jax
    import numpy as np

    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), one, other)
    return jax.tree.all(same)


def _gib(size: float) -> str:
    return f'{size / 2**30:.1f} GiB'


if __name__ == '__main__':
    sys.exit(main())
