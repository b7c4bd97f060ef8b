"""A release is described by files that agree."""

import re

import pytest
import yaml

from snnjax.version import __version__
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def headings():
    """The versions of the changelog and what is in brackets after each, newest first."""
    return re.findall(r'^## (\S+)(?: \((.*)\))?$', (ROOT / 'CHANGELOG.md').read_text(), re.M)


def test_the_changelog_begins_with_this_version(headings):
    released = [version for version, _ in headings if version != 'Unreleased']
    assert released[0] == __version__


def test_every_released_version_has_a_date(headings):
    for version, date in headings:
        assert (version == 'Unreleased') != bool(re.fullmatch(r'\d{4}-\d\d-\d\d', date))


def test_the_citation_is_of_this_version(headings):
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == __version__
    assert str(citation['date-released']) == dict(headings)[__version__]
