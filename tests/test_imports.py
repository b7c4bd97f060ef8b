"""Imports run one way, and some packages stay where they belong."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# What each part of the package may import of the others.
ALLOWED = {
    'version': set(),
    'errors': set(),
    'spelling': set(),
    'neurons': set(),
    'paths': {'errors'},
    'models': {'errors', 'neurons', 'spelling'},
    'data': {'errors', 'paths', 'spelling'},
    'train': {'data', 'errors', 'models', 'paths', 'spelling', 'version'},
    'analysis': {'data', 'errors', 'models', 'neurons', 'paths', 'spelling', 'train'},
    'tools': {'analysis', 'data', 'errors', 'models', 'neurons', 'paths', 'spelling', 'train'},
    'main': {'analysis', 'errors', 'paths', 'train'},
}
FILES = sorted((ROOT / 'snnjax').rglob('*.py'))


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: import by the full name'
            yield node.module


def part_of(path):
    return path.relative_to(ROOT / 'snnjax').parts[0].removesuffix('.py')


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_part_imports_only_what_it_stands_on(path):
    part = part_of(path)
    if part == '__init__':
        return
    used = {name.split('.')[1] for name in imported_modules(path) if name.startswith('snnjax.')}
    assert used - {part} <= ALLOWED[part]


@pytest.mark.parametrize(
    ('package', 'home'), [('flax', {'models'}), ('tensorflow_datasets', {'data', 'tools'})]
)
def test_a_framework_is_used_in_its_home_only(package, home):
    users = {
        part_of(path)
        for path in FILES
        for name in imported_modules(path)
        if name.split('.')[0] == package
    }
    assert users <= home


def test_data_and_neurons_stand_alone():
    used = {
        part: {
            name.split('.')[0]
            for path in FILES
            if part_of(path) == part
            for name in imported_modules(path)
        }
        for part in ('data', 'neurons')
    }
    assert 'jax' not in used['data']
    assert used['neurons'] - set(sys.stdlib_module_names) <= {'jax', 'numpy', 'snnjax'}


def test_tensorflow_is_never_imported():
    code = (
        'import sys, snnjax.main, snnjax.tools.prepare; '
        'sys.exit(any(name.split(".")[0] == "tensorflow" for name in sys.modules))'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_neurons_and_models_are_there_without_importing_them():
    code = 'import snnjax; snnjax.neurons.lif; snnjax.models.compiler_options; snnjax.create_model'
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
