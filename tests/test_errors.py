"""How a command ends."""

import importlib
import pkgutil
import subprocess
import sys

import snnjax
from snnjax.errors import UserError, run_command
from tests.conftest import ROOT


def test_an_error_that_a_user_can_mend_is_one_line(capsys):
    def command():
        raise UserError('size=0 must be at least 1')

    assert run_command(command) == 2
    assert capsys.readouterr().err == 'error: size=0 must be at least 1\n'


def test_ctrl_c_ends_a_command_without_a_traceback(capsys):
    def command():
        raise KeyboardInterrupt

    assert run_command(command) == 130
    assert capsys.readouterr().err == ''


def test_a_closed_pipe_ends_a_command_without_a_traceback():
    code = (
        'import sys\nfrom snnjax.errors import run_command\n'
        'sys.exit(run_command(lambda: [print("a line") for _ in range(100_000)] and 0))'
    )
    command = [sys.executable, '-c', code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b''
    assert process.returncode == 141


def test_a_closed_pipe_of_something_else_is_an_error(capfd):
    def command():
        raise BrokenPipeError(32, 'Broken pipe')

    assert run_command(command) == 1
    assert capfd.readouterr().err == 'error: [Errno 32] Broken pipe\n'


def test_every_error_of_the_package_is_one_that_a_user_can_mend():
    modules = [m.name for m in pkgutil.walk_packages(snnjax.__path__, 'snnjax.')]
    errors = [
        value
        for module in map(importlib.import_module, modules)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == module.__name__
    ]
    assert len(errors) > 10
    assert [error for error in errors if not issubclass(error, UserError)] == []
