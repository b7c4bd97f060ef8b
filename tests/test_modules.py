"""Modules that a configuration, or weights, name."""

import sys

import pytest

from snnjax.modules import ImportsError, load_modules, load_modules_of_weights, note_modules


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of modules, of which this user has trained with none."""
    (tmp_path / 'a_neuron.py').write_text('RAN = True\n')
    (tmp_path / 'a_typo.py').write_text('import numpy\n1 / 0\n')
    (tmp_path / 'needs_more.py').write_text('import not_there_at_all\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    yield tmp_path
    for name in ('a_neuron', 'a_typo', 'needs_more'):
        sys.modules.pop(name, None)


def test_modules_are_imported_by_their_names(folder):
    load_modules(' a_neuron, json,')
    assert sys.modules['a_neuron'].RAN


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ('nowhere_to_be_found', "there is no module 'nowhere_to_be_found': run the command in"),
        ('a_typo', 'a_typo: ZeroDivisionError: division by zero'),
        ('needs_more', "needs_more needs 'not_there_at_all': install it"),
        ('../evil.py', "'../evil.py' is not a module name: for a file my_neuron.py give"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_of_the_user(folder, names, message):
    with pytest.raises(ImportsError, match=message):
        load_modules(names)


def test_what_weights_name_is_imported_only_if_one_has_trained_with_it(folder):
    with pytest.raises(ImportsError, match=r'imported with a flag: .* give --imports=a_neuron'):
        load_modules_of_weights('a_neuron', folder)
    assert 'a_neuron' not in sys.modules
    note_modules('a_neuron')
    assert 'a_neuron' not in sys.modules
    load_modules_of_weights('a_neuron', folder)
    assert sys.modules['a_neuron'].RAN


def test_a_module_of_the_same_name_elsewhere_is_another_one(folder, tmp_path, monkeypatch):
    note_modules('a_neuron')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere/a_neuron.py').write_text('EVIL = True\n')
    monkeypatch.syspath_prepend(tmp_path / 'elsewhere')
    with pytest.raises(ImportsError, match=r'only imported with a flag'):
        load_modules_of_weights('a_neuron', folder)


def test_what_the_user_has_imported_already_may_be_named(folder):
    load_modules('a_neuron')
    load_modules_of_weights('a_neuron', folder)
