"""What the documents say has to be so."""

import collections
import configparser
import contextlib
import importlib.util
import itertools
import json
import os
import pkgutil
import re
import runpy
import sys
from unittest import mock

import PIL.Image
import pytest

from snnjax import cli, create_model, list_models
from snnjax.models.blocks import BLOCKS
from snnjax.models.registry import FAMILIES
from snnjax.models.summary import spiking_macs, summarize
from snnjax.neurons import NEURONS, SURROGATES
from tests.conftest import ROOT
from tests.documents import DOCUMENTS, blocks, blocks_of, commands, name_of
from tests.processes import run

MODELS = re.findall(
    r'^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \|', (ROOT / 'docs/models.md').read_text(), re.MULTILINE
)
PAPER_MAP = (ROOT / 'docs/paper_map.md').read_text()
PYTHON = {
    page: [block.code for block in of_page if not block.reason]
    for page, of_page in itertools.groupby(blocks('python'), lambda block: block.page)
}
COMMANDS = {
    page: [words for block in of_page if not block.reason for words in commands(block.code)]
    for page, of_page in itertools.groupby(blocks('sh'), lambda block: block.page)
}

WRONG = {
    ('snnjax.main', '--config=configs/digits.py:dept=8'): 'did you mean depth',
    ('snnjax.main', '--config=configs/digits.py', '--config.epoch=1'): 'did you mean epochs',
    ('snnjax.main', '--config=configs/digits.py', '--config.epochs=x'): 'config.epochs=x',
    (
        'snnjax.main',
        '--config=configs/digits.py',
        '--work_dir=x',
    ): "argument '--work_dir=x'",
    ('snnjax.tools.evaluate', '--weights=x', '--steps=3'): 'arguments: --steps=3',
    ('snnjax.tools.sweep', '--config=configs/digits.py', '--workdir=x'): 'no function get_runs',
}


@pytest.mark.parametrize('page', PYTHON)
def test_python_runs(page, tmp_path, monkeypatch):
    """Blocks of a page follow each other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'docs').symlink_to(ROOT / 'docs')
    names = {'__name__': 'page'}
    with contextlib.ExitStack() as stack:
        for registry in (BLOCKS, FAMILIES, NEURONS, SURROGATES):  # Pages add to them.
            stack.enter_context(mock.patch.dict(registry))
        for code in PYTHON[page]:
            exec(compile(code, page, 'exec'), names)


def test_what_is_not_checked_has_a_reason_and_is_little():
    unchecked = [block for block in blocks('python') + blocks('sh') if block.reason]
    pages = collections.Counter(block.page for block in unchecked)
    assert pages == {
        'docs/howto/coming_from.md': 2,
        'docs/howto/network.md': 1,
        'docs/howto/neuron.md': 1,
        'docs/howto/training_parts.md': 1,
        'docs/tutorials/neuron.md': 1,
        'docs/export.md': 3,
    }


@pytest.fixture(scope='module')
def refusals():
    """What is wrong with each line of ``python -m MODULE ARGUMENTS`` in the documents."""
    lines = {tuple(as_module(words)) for page in COMMANDS.values() for words in page} - {()}
    lines = [*WRONG, *sorted(lines)]
    command = [sys.executable, '-m', 'tests.command_lines']
    result = run(command, cwd=ROOT, stdin=json.dumps(lines))
    assert result.returncode == 0, result.stderr
    return dict(zip(lines, json.loads(result.stdout), strict=True))


def as_module(words):
    """[MODULE, ARGUMENT, ...] of a command; [] for other commands than ours."""
    if words[:2] == ['python', '-m'] and words[2].split('.')[0] == 'snnjax':
        return words[2:]
    if words[0] == 'snnjax' and words[1] in cli.COMMANDS:
        module = 'snnjax.main' if words[1] == 'train' else f'snnjax.tools.{words[1]}'
        return [module, *words[2:]]
    if words[:3] == ['python', '-m', 'tests.faults']:
        return ['tests.faults.__main__', *words[3:]]
    if words[:2] == ['launch/tpu_vm.sh', 'run']:
        return ['snnjax.main', *words[2:]]
    return []


@pytest.mark.parametrize('page', COMMANDS)
def test_commands_would_be_taken(page, refusals):
    """Config files, their arguments, ``--config.KEY`` and every other argument are parsed."""
    wrong = {
        ' '.join(words): problem
        for words in COMMANDS[page]
        if (problem := refusals.get(tuple(as_module(words))) or problem_of_others(words))
    }
    assert wrong == {}


def problem_of_others(words):
    """What is wrong with a command that is none of ours."""
    if as_module(words) or words in (['.', '.venv/bin/activate'], ['snnjax', '--help']):
        return None
    if words[0] == 'make':
        return missing(words[1:], makefile_targets())
    if words[:2] == ['pip', 'install']:
        extras = re.findall(r'\w+', ''.join(re.findall(r'\[(.*?)\]', ' '.join(words))))
        paths = [ROOT / path for path in re.findall(r'constraints/\S+', ' '.join(words))]
        return missing(extras, known_extras()) or missing(
            paths, filter(lambda p: p.exists(), paths)
        )
    if words[0] == 'python' and words[1].startswith('benchmarks/'):
        script = (ROOT / words[1]).read_text()
        options = {word.partition('=')[0] for word in words[2:] if word.startswith('--')}
        # Those of the configuration are not the script's.
        own = {option for option in options if not option.startswith('--config')}
        return missing(own, re.findall(r"'(--\w+)'", script))
    if words[0] == 'launch/gpu_program.sh':
        return missing(words[1:], re.findall(r'^(\w+)\(\)', (ROOT / words[0]).read_text(), re.M))
    if words[0] == 'gcloud':  # Not installed where tests run.
        return None
    if words[:2] == ['python3', '-m']:
        return None if importlib.util.find_spec(words[2]) else f'no module {words[2]}'
    return 'no test knows how to check it'


def missing(names, known):
    unknown = set(names) - set(known)
    return f'there is no {unknown}' if unknown else None


def makefile_targets():
    return re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)


def known_extras():
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    return setup['options.extras_require']


@pytest.mark.parametrize(('line', 'message'), WRONG.items(), ids=lambda x: ' '.join(x))
def test_a_command_that_would_be_refused_is_found(line, message, refusals):
    assert message in refusals[line]


@pytest.mark.parametrize('document', DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document):
    links = re.findall(r'\]\((?!https?:)([^)#]+)\)', document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_site_is_made_without_a_warning(tmp_path):
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', 'docs', str(tmp_path)]
    result = run(command, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, '')
    readme = (tmp_path / 'project/readme.html').read_text()
    assert 'href="../data.html"' in readme  # A page.
    assert 'src="../_images/depth.png"' in readme
    assert '<span class="pre">CITATION.cff</span>' in readme  # A file that is none.
    commands = (tmp_path / 'reference/commands.html').read_text()
    assert [name for name in cli.COMMANDS if f'snnjax {name} ' not in commands] == []
    formulas = (tmp_path / 'concepts/neuron.html').read_text()
    assert '<math' in formulas
    # Nothing is loaded from a network to draw them.
    assert not re.search('<script[^>]*mathjax', formulas.lower())


def test_the_figure_of_the_readme_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['readme_figure.py', f'--out={tmp_path / "depth.png"}'])
    runpy.run_path(str(ROOT / 'benchmarks/readme_figure.py'), run_name='__main__')
    with PIL.Image.open(tmp_path / 'depth.png') as figure:
        assert figure.size[0] > figure.size[1] > 300


def modules_of_commands():
    tools = (ROOT / 'snnjax/tools').glob('*.py')
    names = [
        f'snnjax.tools.{path.stem}' for path in tools if '\nif __name__ ==' in path.read_text()
    ]
    return ['snnjax.main', *names]


def test_the_map_has_every_item_of_the_paper():
    items = {
        title: re.findall(r'^\| (\w+)', text, re.MULTILINE)
        for title, text in re.findall(r'^## (\w+)\n(.*?)(?=^## |\Z)', PAPER_MAP, re.DOTALL | re.M)
    }
    assert [item for item in items['Equations'] if item.isdigit()] == [*map(str, range(1, 14))]
    assert [item for item in items['Tables'] if item.isdigit()] == [*map(str, range(1, 11))]
    assert [item for item in items['Figures'] if item != 'number'] == ['1', '2a', '2b', '3']


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(snnjax\.[\w.]+)`', PAPER_MAP))))
def test_the_map_leads_to_what_there_is(name):
    assert pkgutil.resolve_name(name) is not None


def test_the_map_leads_to_commands_and_configs_that_there_are():
    modules = re.findall(r'python -m (snnjax[\w.]*)', PAPER_MAP)
    assert modules
    assert [name for name in modules if name not in modules_of_commands()] == []
    configs = re.findall(r'configs/\w+\.py', PAPER_MAP)
    assert [config for config in configs if not (ROOT / config).exists()] == []


def test_the_reference_has_every_config_file():
    page = (ROOT / 'docs/reference/configuration.md').read_text()
    configs = {path.name for path in (ROOT / 'configs').glob('*.py')}
    assert set(re.findall(r'literalinclude} ../../configs/(\w+\.py)', page)) == configs


def test_the_table_of_models_has_them_all():
    assert [name for name, *_ in MODELS] == list_models()


@pytest.mark.parametrize(
    ('name', 'parameters', 'operations'),
    # Of each kind one; of the paper's own, all that are quick to trace.
    [
        row
        for row in MODELS
        if row[0].endswith('net20')
        or row[0] in list_models('ms_resnet??*')[:9]
        or row[0].startswith(('tdbn', 'sew', 'plif', 'ta_snn', 'rollout'))
    ],
)
def test_the_table_of_models_has_their_sizes(name, parameters, operations):
    model = create_model(name)
    size = 34 if name in ('plif_nmnist', 'rollout_densenet') else model.default_image_size
    layers = summarize(model, (size, size, model.in_channels))
    assert f'{sum(layer.parameters for layer in layers):,}' == parameters
    assert f'{spiking_macs(layers):,}' == operations


def test_the_tutorial_can_be_followed(tmp_path):
    """From the download to the report, all commands run: as they are printed, but for a few images,
    a network of two narrow blocks, and one epoch.
    """
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    followed, _, _ = (ROOT / 'docs/tutorials/cifar10.md').read_text().partition('\n## Change it')
    words_of_all = [
        words for block in blocks_of(followed, 'sh', 'tutorial') for words in commands(block.code)
    ]
    network = ['model.blocks=(1,1)', 'model.widths=(4,4)', 'model.strides=(1,2)']
    small = [*network, 'epochs=1', 'batch_size=16', 'eval_batch_size=16']
    lines = [
        [*line, *(f'--config.{change}' for change in small if line[0] == 'snnjax.main')]
        for line in map(as_module, words_of_all)
        if line
    ]
    assert len(lines) == 8
    result = run(
        [sys.executable, '-m', 'tests.tutorial'],
        cwd=tmp_path,
        env={**os.environ, 'HOME': str(tmp_path), 'PYTHONPATH': str(ROOT)},
        stdin=json.dumps(lines),
    )
    assert result.returncode == 0, result.stderr
    assert 'cifar10 train: 80 examples' in result.stdout
    assert result.stdout.count('mean test accuracy of the last') == 3
    assert (tmp_path / 'runs/cifar10/report.html').stat().st_size > 10_000
