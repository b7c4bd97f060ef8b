import importlib.metadata
import math
import re
import shutil
import sys
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest
from packaging.requirements import Requirement

from snnjax.data import DataOptions
from snnjax.tools import doctor
from tests.conftest import ROOT
from tests.processes import run


@pytest.fixture
def installed(monkeypatch):
    """A function that says which packages there are: (version, requirements) by name."""

    def install(packages, python='>=3.11', extras=()):
        def version(name):
            if name not in packages:
                raise importlib.metadata.PackageNotFoundError(name)
            return packages[name][0]

        def requires(name):
            version(name)
            return packages[name][1]

        class Metadata(dict):
            def get_all(self, key):
                return list(extras)

        def metadata_of(name):
            version(name)
            return Metadata({'Requires-Python': python})

        monkeypatch.setattr(importlib.metadata, 'version', version)
        monkeypatch.setattr(importlib.metadata, 'requires', requires)
        monkeypatch.setattr(importlib.metadata, 'metadata', metadata_of)

    return install


NEEDED = ['jax>=0.10', 'flax>=0.12', 'optax', 'torch>=2.10; extra == "torch"']
THERE = {
    'snnjax': ('1.0', NEEDED),
    'jax': ('0.10.2', ['libtpu>=0.5; extra == "tpu"']),
    'flax': ('0.12.8', None),
    'optax': ('0.2.8', None),
}


@pytest.mark.parametrize(('needed', 'status'), [('>=3.11', 'PASS'), ('>=4', 'FAIL')])
def test_python_has_to_be_new_enough(installed, needed, status):
    installed(THERE, python=needed)
    result = doctor.check_python()
    assert result.status == status
    assert result.fix == ('' if status == 'PASS' else 'install Python >=4')


@pytest.mark.parametrize(
    ('change', 'found', 'fix'),
    [
        ({'jax': ('0.4.1', None)}, 'jax 0.4.1 is not >=0.10', "pip install 'jax>=0.10'"),
        ({'flax': None}, 'flax is missing', "pip install 'flax>=0.12'"),
    ],
)
def test_packages_have_to_be_there_and_new_enough(installed, change, found, fix):
    installed(THERE)
    assert doctor.check_packages().status == 'PASS'
    installed({name: package for name, package in (THERE | change).items() if package})
    assert doctor.check_packages() == doctor.Result('FAIL', found, fix)


def test_a_package_that_is_not_installed_tells_nothing_of_its_needs(installed):
    installed({})
    for check in (doctor.check_python, doctor.check_packages, doctor.check_extras):
        assert check().status == 'SKIP'


def test_extras_may_be_missing_but_not_old(installed):
    installed(THERE, extras=['torch'])
    result = doctor.check_extras()
    assert result.status == 'PASS'
    assert result.found.startswith('installed: none; not installed: torch')
    installed(THERE | {'torch': ('2.10', None)}, extras=['torch'])
    assert doctor.check_extras() == doctor.Result('PASS', 'installed: torch; not installed: none')
    installed(THERE | {'torch': ('2.9.1', None)}, extras=['torch'])
    assert doctor.check_extras() == doctor.Result(
        'FAIL', 'torch 2.9.1 is not >=2.10', "pip install 'snnjax[torch]'"
    )


def test_a_requirement_of_an_extra_is_followed(installed):
    installed(THERE)
    assert doctor.problems_of(Requirement('jax[tpu]>=0.10')) == ['libtpu is missing']


def test_devices_are_counted():
    assert doctor.check_devices() == doctor.Result('PASS', '8 cpu (cpu)')


def test_no_device_is_a_failure(monkeypatch):
    def devices():
        raise RuntimeError('Unable to initialize backend\nand more')

    monkeypatch.setattr(jax, 'devices', devices)
    result = doctor.check_devices()
    assert result.status == 'FAIL'
    assert result.found == 'JAX finds no device: Unable to initialize backend'


@pytest.mark.parametrize(('platforms', 'status'), [('', 'FAIL'), ('cpu', 'PASS')])
def test_an_accelerator_is_left_alone_only_on_purpose(monkeypatch, tmp_path, platforms, status):
    monkeypatch.setitem(doctor.ACCELERATORS, str(tmp_path), 'cuda')
    monkeypatch.setenv('JAX_PLATFORMS', platforms)
    result = doctor.check_devices()
    assert result.status == status
    assert result.fix == ("pip install 'snnjax[cuda]'" if status == 'FAIL' else '')


@pytest.mark.parametrize(('gib', 'status'), [(8, 'PASS'), (0.5, 'FAIL')])
def test_memory_has_to_be_available(monkeypatch, gib, status):
    memory = SimpleNamespace(available=gib * 2**30, total=16 * 2**30)
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: memory)
    result = doctor.check_memory()
    assert result.status == status
    assert result.found == f'{gib:.1f} GiB of 16.0 GiB available'


def test_a_folder_is_checked_before_it_is_made(tmp_path):
    result = doctor.check_folder(tmp_path / 'not' / 'yet')
    assert result.status == 'PASS'
    assert 'not created yet' in result.found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_fails(tmp_path):
    (tmp_path / 'file').touch()
    result = doctor.check_folder(tmp_path / 'file' / 'data')
    assert result.status == 'FAIL'
    assert result.fix == f'make {tmp_path / "file"} a writable folder'


def test_a_full_disk_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=2**20))
    result = doctor.check_folder(tmp_path)
    assert result.status == 'FAIL'
    assert result.found == f'{tmp_path}: 0.0 GiB free'


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path))
    assert doctor.check_cache().found.startswith(f'{tmp_path}: ')
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert doctor.check_cache().found.startswith(f'{tmp_path / "snnjax"}, not created yet: ')


@pytest.fixture
def prepared(tmp_path):
    """The folder of a data set that is prepared."""
    import tensorflow_datasets as tfds

    from snnjax.data import records

    plan = records.Plan(
        name='numbers',
        features=tfds.features.FeaturesDict({'label': tfds.features.ClassLabel(num_classes=2)}),
        splits={'train': [{'label': 0}, {'label': 1}], 'test': [{'label': 1}]},
        source='',
        example_bytes=100,
        description='Numbers.',
    )
    return records.write(plan, tmp_path)


def test_data_sets_are_listed_with_their_sizes(prepared, tmp_path):
    result = doctor.check_data_sets(tmp_path)
    assert result.status == 'PASS'
    assert re.fullmatch(r'numbers \(2 train, 1 test, 0\.\d MiB\)', result.found)


def test_a_data_set_that_is_damaged_fails(prepared, tmp_path):
    (prepared / 'dataset_info.json').write_text('{')
    result = doctor.check_data_sets(tmp_path)
    assert result.status == 'FAIL'
    assert result.fix == f'remove {tmp_path / "numbers"} and prepare it again'


def test_without_data_sets_there_is_a_command(tmp_path):
    result = doctor.check_data_sets(tmp_path)
    assert result.status == 'SKIP'
    assert result.fix.startswith('python -m snnjax.tools.prepare ')
    assert result.fix.endswith(f'--data_dir={tmp_path}')


@pytest.fixture(scope='module')
def trained():
    return doctor.train_a_little()


def test_training_learns_and_is_restored(trained, monkeypatch):
    monkeypatch.setattr(doctor, 'train_a_little', lambda: trained)
    result = doctor.check_training()
    assert result.status == 'PASS'
    assert f'in {doctor.TRAINING_STEPS} steps' in result.found


@pytest.mark.parametrize(
    ('losses', 'found'),
    [
        ([2.3, math.nan], 'the loss is not finite'),
        ([2.3] * 20, 'the loss does not fall'),
    ],
)
def test_training_that_learns_nothing_fails(monkeypatch, losses, found):
    monkeypatch.setattr(doctor, 'train_a_little', lambda: (None, None, losses))
    result = doctor.check_training()
    assert result.status == 'FAIL'
    assert found in result.found


def test_a_checkpoint_that_comes_back_otherwise_fails(trained, monkeypatch):
    state = trained[1]
    monkeypatch.setattr(doctor, 'train_a_little', lambda: trained)
    monkeypatch.setattr(
        'snnjax.train.checkpoints.Checkpoints.restore',
        lambda self, step, like: (state._replace(step=state.step + 1), {}),
    )
    result = doctor.check_training()
    assert result.status == 'FAIL'
    assert 'differs from the saved one' in result.found


def test_bits_are_compared_and_not_numbers():
    assert doctor.have_same_bits({'a': np.float32(math.nan)}, {'a': np.float32(math.nan)})
    assert not doctor.have_same_bits({'a': np.float32(0.0)}, {'a': np.float32(-0.0)})


def test_a_check_that_breaks_off_fails(monkeypatch, capsys):
    def broken():
        raise ValueError('two\nlines')

    def missing():
        import no_such_module  # noqa: F401

    checks = {'one': broken, 'two': missing}
    monkeypatch.setattr(doctor, 'make_checks', lambda data_dir: checks)
    assert doctor.main([]) == 1
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith('FAIL  one')
    assert 'ValueError: two lines; fix: ' in one
    assert two.endswith("No module named 'no_such_module'; fix: pip install no_such_module")


def test_the_data_folder_is_the_one_of_training():
    assert DataOptions().dir == doctor.DATA_DIR


def test_the_command_prints_a_line_for_each_check(tmp_path):
    command = [sys.executable, '-m', 'snnjax.tools.doctor', f'--data_dir={tmp_path}']
    result = run(command, cwd=ROOT)
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert [line[6:].split('  ')[0] for line in lines] == list(doctor.make_checks(tmp_path))
    assert {line[:4] for line in lines} <= {'PASS', 'SKIP'}
    assert result.stderr == ''
