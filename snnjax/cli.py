"""The console script ``snnjax``, which has all commands of the package.

``snnjax train`` is ``python -m snnjax.main``, and ``snnjax NAME`` is ``python -m
snnjax.tools.NAME``. Nothing is imported here before it is known which command is asked for.
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
    'prepare': 'make the files of a data set from its download, or from files of your own',
    'bench_data': 'measure how fast batches are made, and whether training waits for them',
    'sweep': 'train all networks of a sweep',
    'summary': 'list the layers of a model: shapes, parameters, operations',
    'plan_tpu': 'tell whether a training fits a TPU, and how fast it could be',
    'evaluate': 'evaluate trained weights on all images of a split',
    'predict': 'classify photos or recordings',
    'inspect': 'list what a run or a folder of weights holds',
    'report': 'make a page of a run, with all figures',
    'energy': 'estimate the energy of the operations of a network',
    'similarity': 'measure how alike firing patterns are before and after each block',
    'isometry': 'measure how evenly blocks pass gradients on',
    'early_answers': 'measure accuracy by the time since the first event',
    'time_steps': 'measure accuracy and energy by the number of time steps',
    'compare': 'compare the networks of a sweep',
    'table4': 'train, convert and compare networks on event data sets',
    'convert': 'convert a trained ANN to a spiking network',
    'dart': 'classify recordings of events without a network',
    'fit_few_spikes': 'fit few-spike neurons to an activation',
    'import_torch': 'take over weights from PyTorch',
    'import_nir': 'take over a network from a graph of NIR',
    'push': 'send weights to the Hugging Face Hub',
    'export': 'write weights as safetensors, StableHLO or NIR',
    'doctor': 'check the installation',
}
"""What each command does, by its name; a command has its own ``--help``."""


def main(argv: Sequence[str] | None = None, program: str = 'snnjax') -> int:
    """Runs the command that a command line names; returns its exit status.

    Args:
      argv: name of the command and its arguments; None for those of this process.
      program: how this program was called.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    # The same for dashes, which are easier to type.
    name = given[0].replace('-', '_') if given else ''
    if name in COMMANDS:
        sys.argv = [f'{program} {name}', *given[1:]]
        _search_current_folder()
        module = _import_command(name)
        # Those that train hear signals from here on.
        run: Callable[[], int] = getattr(module, 'run_process', module.main)
        return run()
    from snnjax.errors import run_command

    return run_command(lambda: _answer(given, program))


def _import_command(name: str) -> ModuleType:
    if name == 'train':
        return importlib.import_module('snnjax.main')
    # Until `snnjax.errors.run_command` handles it, Ctrl-C ends the process without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return importlib.import_module(f'snnjax.tools.{name}')


def _search_current_folder() -> None:
    """Lets configurations name modules of the current folder, as ``python -m`` does."""
    if sys.flags.safe_path:
        return
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:
        return
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def _answer(given: Sequence[str], program: str) -> int:
    """Answers a command line that names no command; returns the exit status."""
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
                f'{program} --help says what each of them does'
            )
    return 0


def describe(program: str = 'snnjax') -> str:
    """Returns the help: a line for each command.

    Args:
      program: how this program was called.
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
            f'{program} COMMAND --help has the arguments of a command; {program} --version.',
        ]
    )
