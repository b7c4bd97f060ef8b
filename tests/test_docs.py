"""What the documents say has to be so."""

import re

import pytest

from snnjax import create_model, list_models
from snnjax.models.summary import residual_macs, summarise
from snnjax.tools.summary import default_size
from tests.conftest import ROOT

README = (ROOT / 'README.md').read_text()
DOCUMENTS = sorted(ROOT.glob('*.md')) + sorted((ROOT / 'docs').rglob('*.md'))
MODELS = re.findall(
    r'^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \|', (ROOT / 'docs/models.md').read_text(), re.MULTILINE
)


@pytest.mark.parametrize('example', re.findall(r'```python\n(.*?)```', README, re.DOTALL))
def test_python_examples_run(example):
    exec(compile(example, 'README.md', 'exec'), {})


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r'\]\((?!https?:)([^)#]+)\)', document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text()
    targets = re.findall(r'^make (\w+)', README, re.MULTILINE)
    assert targets
    assert [target for target in targets if f'\n{target}:' not in makefile] == []


def test_the_table_of_models_has_them_all():
    assert [name for name, *_ in MODELS] == list_models()


@pytest.mark.parametrize(
    ('name', 'parameters', 'operations'),
    # Of each kind one; of the paper's own, all that are quick to trace.
    [
        row
        for row in MODELS
        if row[0].endswith('net20') or row[0] in list_models('ms_resnet??*')[:9]
    ],
)
def test_the_table_of_models_has_their_sizes(name, parameters, operations):
    model = create_model(name)
    size = default_size(model.stem_stride, model.in_channels)
    layers = summarise(model, (size, size, model.in_channels))
    assert f'{sum(layer.parameters for layer in layers):,}' == parameters
    assert f'{residual_macs(layers):,}' == operations
