"""The console script ``snnjax``, which runs all commands of the package.

``snnjax train`` is ``python -m snnjax.main``, and ``snnjax NAME`` is ``python -m
snnjax.tools.NAME``. Modules are imported only after the command is known.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

COMMANDS = {
    'train': 'train a model, or continue a run',
    'prepare': 'prepare a data set from its download or from your own files',
    'bench_data': 'measure the input throughput and the time that training waits for batches',
    'sweep': 'train all networks of a sweep',
    'summary': 'list the layers of a model: shapes, parameters, operations',
    'plan_tpu': 'check if a training fits a TPU and estimate its speed',
    'evaluate': 'evaluate trained weights on all images of a split',
    'predict': 'classify photos or event recordings',
    'inspect': 'list the contents of a run or a folder of weights',
    'report': 'write an HTML page about a run, with all figures',
    'energy': "estimate the energy of a network's operations",
    'similarity': 'measure the similarity of firing patterns before and after each block',
    'isometry': 'measure how evenly blocks pass on gradients',
    'early_answers': 'measure accuracy by the time since the first event',
    'time_steps': 'measure accuracy and energy by the number of time steps',
    'compare': 'compare the networks of a sweep',
    'table4': 'train, convert and compare networks on event data sets',
    'convert': 'convert a trained ANN to a spiking network',
    'dart': 'classify event recordings without a network',
    'fit_few_spikes': 'fit few-spike neurons to an activation',
    'import_torch': 'import weights from PyTorch',
    'import_nir': 'import a network from a graph of NIR',
    'push': 'upload weights to the Hugging Face Hub',
    'export': 'export weights as safetensors, StableHLO or NIR',
    'doctor': 'check the installation',
}
"""A description of each command by name; a command has its own ``--help``."""


def main(argv: Sequence[str] | None = None, program: str = 'snnjax') -> int:
    """Runs the command that a command line names and returns its exit status.

    Args:
      argv: the name of the command and its arguments, or None for those of this process.
      program: the program's name in messages.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    # Dashes are accepted in place of underscores.
    name = given[0].replace('-', '_') if given else ''
    if name in COMMANDS:
        sys.argv = [f'{program} {name}', *given[1:]]
        _search_current_folder()
        module = _import_command(name)
        # Commands that train handle signals from here on.
        run: Callable[[], int] = getattr(module, 'run_process', module.main)
        return run()
    from snnjax.errors import run_command

    return run_command(lambda: _answer(given, program))


def _import_command(name: str) -> ModuleType:
    if name == 'train':
        return importlib.import_module('snnjax.main')
    # Ctrl-C ends the process without a traceback until `snnjax.errors.run_command` handles it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return importlib.import_module(f'snnjax.tools.{name}')


def _search_current_folder() -> None:
    """Adds the current folder to the module search path, as ``python -m`` does."""
    if sys.flags.safe_path:
        return
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:
        return
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def _answer(given: Sequence[str], program: str) -> int:
    """Handles a command line without a known command and returns the exit status."""
    from snnjax.errors import EXIT_USAGE, ConfigError
    from snnjax.spelling import did_you_mean
    from snnjax.version import __version__

    match given:
        case ['--version', *_]:
            print(f'snnjax {__version__}')
        case ['-h' | '--help', *_]:
            print(describe(program))
        case []:
            print(describe(program))
            return EXIT_USAGE
        case [name, *_]:
            raise ConfigError(
                f'unknown command {name!r}; {did_you_mean(name, COMMANDS)} '
                f'{program} --help lists all commands'
            )
    return 0


def describe(program: str = 'snnjax') -> str:
    """Returns the help text, with one line for each command.

    Args:
      program: the program's name.
    """
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {what}' for name, what in COMMANDS.items()]
    return '\n'.join(
        [
            f'usage: {program} COMMAND ...',
            '',
            'Deep residual spiking networks in JAX.',
            '',
            f'  {program} train --config=configs/digits.py --workdir=runs/digits',
            f'  {program} evaluate --weights=runs/digits',
            '',
            'commands:',
            *lines,
            '',
            f'{program} COMMAND --help lists the arguments of a command; {program} --version.',
        ]
    )
