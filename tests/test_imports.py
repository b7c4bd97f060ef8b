"""Imports run one way, and some packages stay where they belong."""

import ast
import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# What each part of the package may import of the others.
_BASE = {'buckets', 'errors', 'files', 'known', 'modules', 'paths', 'spelling', 'version'}
ALLOWED = {
    'version': set(),
    'errors': set(),
    'spelling': set(),
    'buckets': {'errors'},
    'paths': {'buckets', 'errors'},
    'files': {'buckets', 'paths'},
    'known': {'errors', 'paths'},
    'modules': {'errors', 'known', 'spelling'},
    'neurons': set(),
    'models': {'neurons', *_BASE},
    'weights': {'models', *_BASE},
    # Images come to it as arrays: it needs neither data sets nor training.
    'conversion': {'models', 'neurons', 'weights', *_BASE},
    'data': _BASE,
    'dart': {'data', *_BASE},
    'train': {'data', 'models', 'neurons', 'weights', *_BASE},
    'analysis': {'conversion', 'data', 'models', 'neurons', 'train', 'weights', *_BASE},
    'export': {
        *('analysis', 'conversion', 'data', 'models', 'neurons', 'train', 'weights'),
        *_BASE,
    },
    'tools': {
        *('analysis', 'conversion', 'dart', 'data', 'export', 'models', 'neurons', 'train'),
        'weights',
        *_BASE,
    },
    'main': {'analysis', 'models', 'tools', 'train', *_BASE},
    'cli': {'main', 'tools', *_BASE},
    '__main__': {'cli'},
}
# Old homes, which only pass on what has moved.
ALIASES = {'models/torch_weights.py': {'weights'}}
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
    also = ALIASES.get(str(path.relative_to(ROOT / 'snnjax')), set())
    assert used - {part} <= ALLOWED[part] | also


def test_no_module_imports_itself_by_way_of_others():
    modules = {'.'.join(path.relative_to(ROOT).with_suffix('').parts): path for path in FILES}
    modules = {name.removesuffix('.__init__'): path for name, path in modules.items()}
    graph = {name: _direct_imports(path, modules) for name, path in modules.items()}
    # What a package itself imports is a short way to its parts, which they do not use.
    waiting = {name: used - {name} for name, used in graph.items() if name != 'snnjax'}
    while free := {name for name, used in waiting.items() if not used & waiting.keys()}:
        waiting = {name: used for name, used in waiting.items() if name not in free}
    assert not waiting


def _direct_imports(path, modules):
    """The modules of the package that a file imports, also inside of functions."""
    used = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            named = {f'{node.module}.{alias.name}' for alias in node.names}
            used |= named & modules.keys() or {node.module} & modules.keys()
    return used


@pytest.mark.parametrize(
    ('package', 'home'),
    [('flax', {'conversion', 'export', 'models'}), ('tensorflow_datasets', {'data', 'tools'})],
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
        'import sys, snnjax.train.loop, snnjax.data.datasets; '
        'sys.exit(any(name.split(".")[0] == "tensorflow" for name in sys.modules))'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_neurons_and_models_are_there_without_importing_them():
    code = 'import snnjax; snnjax.neurons.lif; snnjax.models.compiler_options; snnjax.create_model'
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


# What no part of the package needs before it reads data, trains, draws or converts.
HEAVY = {
    *('PIL', 'array_record', 'cv2', 'grain', 'matplotlib', 'ml_collections', 'optax', 'orbax'),
    *('psutil', 'simplejpeg', 'sklearn', 'tensorboardX', 'tensorflow_datasets', 'torch', 'tqdm'),
}
WATCH_IMPORTS = """
import json, sys
loaded = []
for line in ('import snnjax', 'import snnjax.neurons', 'import snnjax.data',
             'snnjax.create_model("ms_resnet8", num_steps=2)'):
    exec(line)
    loaded.append(sorted({name.partition('.')[0] for name in sys.modules}))
json.dump(loaded, sys.stdout)
"""


def test_imports_are_light():
    """Each line adds to what the lines before it have imported."""
    result = subprocess.run(
        [sys.executable, '-c', WATCH_IMPORTS], capture_output=True, check=True, cwd=ROOT
    )
    package, neurons, data, model = map(set, json.loads(result.stdout))
    assert package & {*HEAVY, 'flax', 'jax', 'numpy'} == set()
    assert neurons & {*HEAVY, 'flax'} == set()
    assert {'jax', 'numpy'} <= neurons
    assert data == neurons
    assert model & HEAVY == set()
    assert 'flax' in model
