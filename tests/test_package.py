"""What is installed elsewhere: built from these files, and run outside of the repository."""

import json
import os
import shutil
import sys
import tarfile
import zipfile

import pytest

from tests import processes
from tests.conftest import ROOT

MODULES = {str(path.relative_to(ROOT)) for path in (ROOT / 'snnjax').rglob('*.py')}
CONFIGS = {f'snnjax/configs/{path.name}' for path in (ROOT / 'configs').glob('*.py')}
PRETRAINED = {str(path.relative_to(ROOT)) for path in (ROOT / 'snnjax' / 'pretrained').glob('*/*')}
FILES = MODULES | CONFIGS | PRETRAINED | {'snnjax/py.typed'}


def run(*command, cwd, **environment):
    result = processes.run(command, cwd=cwd, env=os.environ | environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A wheel and a source distribution."""
    source = tmp_path_factory.mktemp('source') / 'snnjax'
    # Without caches and environments, which are hidden, and what runs and builds have left.
    left = ('.*', 'runs', 'build', 'dist', '*.egg-info', '__pycache__')
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*left))
    (source / 'snnjax' / '__pycache__').mkdir()
    (source / 'snnjax' / '__pycache__' / 'main.cpython-311.pyc').touch()
    out = source / 'out'
    build = (
        'from setuptools import build_meta; '
        f'build_meta.build_wheel({str(out)!r}); build_meta.build_sdist({str(out)!r})'
    )
    run(sys.executable, '-c', build, cwd=source)
    (wheel,), (sdist,) = out.glob('*.whl'), out.glob('*.tar.gz')
    return wheel, sdist


@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    """The folder that a wheel is installed in, without what it needs: that is there."""
    # Within the repository of another project, as an environment often is.
    project = tmp_path_factory.mktemp('project')
    run('git', 'init', '--quiet', cwd=project)
    identity = ['-c', 'user.name=a test', '-c', 'user.email=a@test']
    run('git', *identity, 'commit', '--quiet', '--allow-empty', '-m', 'x', cwd=project)
    folder = project / 'packages'
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--no-deps']
    run(*pip, f'--target={folder}', built[0], cwd=project)
    return folder


def run_installed(installed, *arguments, cwd):
    return run(sys.executable, *arguments, cwd=cwd, PYTHONPATH=str(installed), PYTHONSAFEPATH='1')


def test_a_wheel_has_modules_configs_and_weights_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if '.dist-info/' not in name}
    assert names == FILES


def test_a_source_distribution_has_what_a_wheel_is_made_of(built):
    with tarfile.open(built[1]) as sdist:
        names = {member.name.partition('/')[2] for member in sdist if member.isfile()}
    assert names >= FILES | {'setup.cfg', 'pyproject.toml', 'LICENSE'}
    folders = {name.partition('/')[0] for name in names if '/' in name}
    assert folders == {'snnjax', 'snnjax.egg-info'}
    assert not any('__pycache__' in name for name in names)


def test_all_modules_can_be_imported_together(installed, tmp_path):
    program = (
        'import importlib, pathlib, pkgutil, snnjax\n'
        'names = [m.name for m in pkgutil.walk_packages(snnjax.__path__, "snnjax.")]\n'
        'files = [importlib.import_module(name).__file__ for name in names]\n'
        'print(*files, sep="\\n")\n'
        'from snnjax.train.run_directory import write_environment\n'
        'write_environment(pathlib.Path())\n'
    )
    files = run_installed(installed, '-c', program, cwd=tmp_path).splitlines()
    expected = {str(installed / name) for name in MODULES} - {str(installed / 'snnjax/__init__.py')}
    assert set(files) == expected
    # The commit of a repository around it is not that of the package.
    assert json.loads((tmp_path / 'environment.jsonl').read_text())['commit'] is None


def test_a_command_runs_outside_of_the_repository(installed, tmp_path):
    arguments = ['-m', 'snnjax.tools.summary', '--model=ms_resnet8']
    assert 'parameters 78,042\n' in run_installed(installed, *arguments, cwd=tmp_path)


def test_configs_come_with_the_package(installed, tmp_path):
    arguments = ['-m', 'snnjax', 'train', '--config=snnjax:cifar10:depth=32', '--print_config']
    printed = run_installed(installed, *arguments, cwd=tmp_path)
    assert json.loads(printed)['model']['name'] == 'ms_resnet32'


def test_trained_weights_come_with_the_package(installed, built, tmp_path):
    arguments = ['-m', 'snnjax', 'inspect', '--weights=pretrained:ms_resnet20_cifar10']
    assert '272,474' in run_installed(installed, *arguments, cwd=tmp_path)
    assert built[0].stat().st_size < 30e6
