"""What the README shows has to run."""

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / 'README.md').read_text()


@pytest.mark.parametrize('example', re.findall(r'```python\n(.*?)```', README, re.DOTALL))
def test_python_examples_run(example):
    exec(compile(example, 'README.md', 'exec'), {})


def test_links_lead_somewhere():
    links = re.findall(r'\]\((?!https?:)([^)#]+)\)', README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text()
    targets = re.findall(r'^make (\w+)', README, re.MULTILINE)
    assert targets
    assert [target for target in targets if f'\n{target}:' not in makefile] == []
