"""Checks an installation and suggests fixes for what is wrong.

  python -m snnjax.tools.doctor
  python -m snnjax.tools.doctor --data.dir=/mnt/data

The command prints one line per check: PASS, FAIL with a fix, or SKIP if there is nothing to check.
The last check trains a small network for a few steps, saves a checkpoint in a temporary folder and
restores it.

Exit status: 0, or 1 if a check fails.
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
from snnjax.spelling import count
from snnjax.tools.command_line import add_argument, new_parser
from snnjax.tools.terminal import fit_terminal

# Each check imports the packages that it needs, so that a missing package fails this check only.

PACKAGE = 'snnjax'
DATA_DIR = '~/snnjax_data'
# The limits are in GiB. CIFAR-10 takes 0.2 GiB of disk; training on digits takes 0.7 GiB of memory.
MIN_DISK, MIN_MEMORY = 1, 1
ACCELERATORS = {'/dev/nvidia0': 'cuda', '/dev/accel0': 'tpu'}
"""The extra of snnjax for each device file of an accelerator."""
TRAINING_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a check.

    Attributes:
      status: the status, 'PASS', 'FAIL' or 'SKIP'.
      found: the finding in words.
      fix: the suggested fix; empty if there is none.
    """

    status: str
    found: str
    fix: str = ''

    def line(self, name: str) -> str:
        """Returns the result as a printed line.

        Args:
          name: the name of the check.
        """
        what = f'; {"fix: " if self.status == "FAIL" else ""}{self.fix}' if self.fix else ''
        return f'{self.status}  {name:19}{" ".join(self.found.split())}{what}'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    add_argument(
        parser,
        '--data.dir',
        '--data_dir',
        dest='data_dir',
        type=expand,
        default=DATA_DIR,
        metavar='DIR',
        help=f'folder of prepared data; default {DATA_DIR}',
    )
    # `parse_and_run` imports packages that may be missing.
    return run_command(lambda: _check(parser.parse_args(argv)))


def _check(args: argparse.Namespace) -> int:
    failed = False
    for name, check in make_checks(args.data_dir).items():
        result = attempt(check)
        print(fit_terminal(result.line(name)), flush=True)
        failed |= result.status == 'FAIL'
    return int(failed)


def make_checks(data_dir: Path) -> Mapping[str, Callable[[], Result]]:
    """Returns all checks by name, in the order in which they run.

    Args:
      data_dir: the folder of prepared data.
    """
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
    """Runs a check; an exception becomes a result of status FAIL."""
    try:
        return check()
    except ImportError as error:
        return Result('FAIL', str(error), f'pip install {error.name or PACKAGE}')
    except Exception as error:
        return Result('FAIL', f'{type(error).__name__}: {error}', 'fix the failures above first')


def check_python() -> Result:
    """Checks the version of Python."""
    try:
        needed = importlib.metadata.metadata(PACKAGE)['Requires-Python']
    except importlib.metadata.PackageNotFoundError:
        return _not_installed()
    version = platform.python_version()
    if not SpecifierSet(needed).contains(version, prereleases=True):
        return Result('FAIL', f'{version}, needs {needed}', f'install Python {needed}')
    return Result('PASS', f'{version}, needs {needed}')


def _not_installed() -> Result:
    return Result('SKIP', f'{PACKAGE} is not installed: its needs are not known', 'pip install .')


def check_packages() -> Result:
    """Checks the versions of the required packages."""
    try:
        needed = requirements_of(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return _not_installed()
    problems = [problem for requirement in needed for problem in problems_of(requirement)]
    if problems:
        names = ' '.join(f"'{r.name}{r.specifier}'" for r in needed if problems_of(r))
        return Result('FAIL', ', '.join(problems), f'pip install {names}')
    versions = [f'{name} {importlib.metadata.version(name)}' for name in ('jax', 'flax', 'optax')]
    return Result('PASS', f'{count(len(needed), "package")} as required, {", ".join(versions)}')


def check_extras() -> Result:
    """Checks the versions of the installed optional packages."""
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
    how = f" (pip install '{PACKAGE}[NAME]')" if absent != 'none' else ''
    return Result('PASS', f'installed: {there}; not installed: {absent}{how}')


_MISSING = ' is missing'


def requirements_of(package: str, extra: str = '') -> list[Requirement]:
    """Returns the requirements of an installed package, or the further ones of an extra.

    Args:
      package: the name of the package.
      extra: the name of an extra; '' for the requirements without extras.

    Raises:
      importlib.metadata.PackageNotFoundError: if the package is not installed.
    """

    def is_needed(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({'extra': extra})

    every = [Requirement(text) for text in importlib.metadata.requires(package) or []]
    return [r for r in every if is_needed(r, extra) and not (extra and is_needed(r, ''))]


def problems_of(requirement: Requirement) -> list[str]:
    """Returns the problems with a requirement and its extras, one sentence each."""
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
    """Checks the devices of JAX; fails if the machine has an accelerator that JAX does not use."""
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
        found += f', {_gib(memory)} each'
    if devices[0].platform == 'cpu' and not os.environ.get('JAX_PLATFORMS'):
        for path, extra in ACCELERATORS.items():
            if Path(path).exists():
                fix = f"pip install '{PACKAGE}[{extra}]'"
                return Result('FAIL', f'{found}: JAX does not use {path}', fix)
    return Result('PASS', found)


def check_memory() -> Result:
    """Checks the available main memory."""
    import psutil

    memory = psutil.virtual_memory()
    found = f'{_gib(memory.available)} of {_gib(memory.total)} available'
    if memory.available < MIN_MEMORY * 2**30:
        return Result('FAIL', found, f'end other programs: {MIN_MEMORY} GiB is needed')
    return Result('PASS', found)


def check_folder(folder: Path) -> Result:
    """Checks that a folder, or the one that it will be created in, is writable and has space.

    Args:
      folder: the folder, which may be missing.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    found = f'{folder}' if there == folder.absolute() else f'{folder}, not created yet'
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b'0' * 2**16)
    except OSError as error:
        return Result('FAIL', f'{found}: {error.strerror}', f'make {there} a writable folder')
    free = shutil.disk_usage(there).free
    if free < MIN_DISK * 2**30:
        fix = f'free some space: at least {MIN_DISK} GiB is needed'
        return Result('FAIL', f'{found}: {_gib(free)} free', fix)
    return Result('PASS', f'{found}: {_gib(free)} free')


def check_data_sets(data_dir: Path) -> Result:
    """Checks the prepared data sets and reports their examples and their size on disk."""
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
    """Checks the folder of compiled programs."""
    from snnjax.models.compilation import compilation_cache

    return check_folder(compilation_cache())


def check_training() -> Result:
    """Trains a small network on the digits data set, and saves and restores it."""
    from snnjax.train.checkpoints import Checkpoints

    program, state, losses = train_a_little()
    if not all(map(math.isfinite, losses)):
        return Result('FAIL', f'the loss is not finite: {losses}', _OTHER_JAX)
    before, after = losses[0], sum(losses[-5:]) / 5
    if after >= before:
        return Result('FAIL', f'the loss does not fall: {before:.3f} to {after:.3f}', _OTHER_JAX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Leaving this context waits until the checkpoint is written.
        with Checkpoints(folder, keep=1) as checkpoints:
            checkpoints.save(len(losses), state, {})
        with Checkpoints(folder, keep=1) as checkpoints:
            restored, _ = checkpoints.restore(len(losses), program.abstract_state())
    if not have_same_bits(state, restored):
        return Result('FAIL', 'the restored checkpoint differs from the saved one', _OTHER_JAX)
    return Result(
        'PASS',
        f'loss {before:.3f} to {after:.3f} in {len(losses)} steps; saved and restored bit for bit',
    )


_OTHER_JAX = 'install the versions in constraints/ and the newest driver of the device'


def train_a_little() -> tuple[Any, Any, list[float]]:
    """Trains for a few steps; returns the `Program`, the final state and the loss of each step."""
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
    """Returns True if two trees hold the same arrays bit for bit; NaN equals NaN."""
    import jax
    import numpy as np

    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), one, other)
    return jax.tree.all(same)


def _gib(size: float) -> str:
    return f'{size / 2**30:.1f} GiB'


if __name__ == '__main__':
    sys.exit(main())
