"""The console script."""

import configparser
import pkgutil
import re
import runpy
import signal
import sys

import pytest

import snnjax.main
from snnjax import cli
from snnjax.tools import evaluate, sweep
from snnjax.version import __version__
from tests import processes
from tests.conftest import ROOT
from tests.faults.commands import run_command

# What pip writes for an entry point.
SCRIPT = """
import sys
from snnjax.cli import main
if __name__ == '__main__':
    sys.exit(main())
"""


@pytest.fixture(autouse=True)
def process_is_left_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['snnjax'])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_package_installs_the_script():
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    name, place = setup['options.entry_points']['console_scripts'].strip().split(' = ')
    assert name == 'snnjax'
    assert pkgutil.resolve_name(place) is cli.main


def test_every_command_is_listed_with_a_line():
    tools = (ROOT / 'snnjax/tools').glob('*.py')
    modules = {path.stem for path in tools if '\nif __name__ ==' in path.read_text()}
    assert cli.COMMANDS.keys() == modules | {'train'}
    lines = cli.describe().splitlines()
    assert [name for name in cli.COMMANDS if not any(f'  {name} ' in line for line in lines)] == []
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ('arguments', 'status', 'out', 'err'),
    [
        (['--help'], 0, cli.describe() + '\n', ''),
        ([], 2, cli.describe() + '\n', ''),
        (['--version'], 0, f'snnjax {__version__}\n', ''),
        (
            ['evaluat'],
            2,
            '',
            "error: unknown command 'evaluat'; did you mean evaluate? "
            'snnjax --help lists all commands\n',
        ),
    ],
)
def test_what_names_no_command_is_answered(arguments, status, out, err, capsys):
    assert cli.main(arguments) == status
    assert capsys.readouterr() == (out, err)


def test_python_runs_it_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['x', 'evaluate', '--help'])
    # Another test may have imported it.
    monkeypatch.delitem(sys.modules, 'snnjax.__main__', raising=False)
    with pytest.raises(SystemExit, match='0'):
        runpy.run_module('snnjax', run_name='__main__')
    out = capsys.readouterr().out
    assert out.startswith('usage: python -m snnjax evaluate ')
    assert '\n  python -m snnjax evaluate --weights=runs/cifar10\n' in out


@pytest.mark.parametrize(
    ('name', 'module', 'function'),
    [
        ('train', snnjax.main, 'run_process'),
        ('sweep', sweep, 'run_process'),
        ('evaluate', evaluate, 'main'),
    ],
)
def test_a_command_finds_modules_of_the_current_folder(
    name, module, function, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, function, lambda: (sys.path[0], sys.argv))
    found = (str(tmp_path), [f'snnjax {name}', '--x=1'])
    assert cli.main([name, '--x=1']) == found
    assert cli.main([name, '--x=1']) == found
    assert sys.path.count(str(tmp_path)) == 1


def test_dashes_do_as_well(monkeypatch):
    monkeypatch.setattr('snnjax.tools.import_torch.main', lambda: sys.argv)
    assert cli.main(['import-torch', 'x']) == ['snnjax import_torch', 'x']


def test_ctrl_c_ends_a_command_that_is_still_being_imported(monkeypatch):
    monkeypatch.setattr(evaluate, 'main', lambda: signal.getsignal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert cli.main(['evaluate']) is signal.SIG_DFL


def test_train_hears_signals_while_the_users_own_modules_are_imported(tmp_path):
    script = tmp_path / 'bin/snnjax'
    script.parent.mkdir()
    script.write_text(SCRIPT)
    (tmp_path / 'mine.py').write_text('import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n')
    (tmp_path / 'config.py').write_text('import mine\n')
    command = [sys.executable, script, 'train', '--config=config.py', '--workdir=run']
    result = processes.run(command, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (75, '')
    assert re.match('error: stopped by a signal\nthe same command resumes', result.stderr)


@pytest.mark.parametrize('arguments', [['--help'], ['train', '--help'], ['evaluate', '--help']])
def test_output_that_nobody_takes_ends_without_a_traceback(arguments, tmp_path):
    result = run_command('snnjax.cli', arguments, tmp_path, 'closed pipe')
    assert result.status in (0, 141)
    assert result.stderr == ''
