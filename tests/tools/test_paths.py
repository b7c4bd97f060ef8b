import argparse
import os
from pathlib import Path

import pytest

from snnjax.errors import PathError, UserError
from snnjax.paths import expand
from snnjax.tools.paths import figure_file, output_file, output_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, which is also the home folder, with a file and a folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'file').write_text('kept')
    (tmp_path / 'folder').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    'text',
    [
        'new.csv',
        'file',
        'missing/further/new.csv',
        'a [b] {c} * ? \n é.csv',
        'n' * 255,
        '/dev/null',
    ],
)
def test_what_can_be_written_is_accepted_and_nothing_is_made(folder, text):
    before = sorted(folder.rglob('*'))
    assert output_file(text) == output_path(text) == Path(text)
    assert sorted(folder.rglob('*')) == before
    assert (folder / 'file').read_text() == 'kept'


def test_the_home_folder_is_expanded(folder):
    assert output_file('~/new.csv') == folder / 'new.csv'
    assert output_path('~/new') == folder / 'new'
    assert expand('~') == folder


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('folder', 'folder is a folder: name a file in it'),
        ('missing/', 'missing/ is a folder: name a file in it'),
        ('', '. is a folder: name a file in it'),
    ],
)
def test_a_folder_is_no_file(folder, text, message):
    with pytest.raises(PathError) as caught:
        output_file(text)
    assert str(caught.value) == message
    output_path(text)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('file/new.csv', 'cannot be written: Not a directory'),
        ('/proc/new.csv', 'cannot be written: '),
        ('/proc/missing/new.csv', 'cannot be written: '),
        ('n' * 256, 'cannot be written: File name too long'),
        ('missing/' + 'n' * 300 + '/new.csv', 'cannot be written: File name too long'),
        ('d/' * 3000 + 'new.csv', 'cannot be written: File name too long'),
        ('~nobody_of_this_name/new.csv', 'there is no user of this name'),
    ],
)
@pytest.mark.parametrize('kind', [output_file, output_path])
def test_what_cannot_be_written_is_refused(folder, kind, text, message):
    with pytest.raises(PathError) as caught:
        kind(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_without_permission_is_refused(folder):
    (folder / 'folder').chmod(0o500)
    with pytest.raises(PathError, match='Permission denied'):
        output_file('folder/new.csv')


@pytest.mark.parametrize('ending', ['png', 'pdf', 'SVG'])
def test_figures_have_the_ending_of_a_format(folder, ending):
    assert figure_file(f'new.{ending}') == Path(f'new.{ending}')


@pytest.mark.parametrize('text', ['new.xyz', 'new', 'new.csv', '.png'])
def test_figures_of_an_unknown_format_are_refused(folder, text):
    with pytest.raises(PathError, match=r'must end in one of .*\.pdf'):
        figure_file(text)


def test_figures_need_matplotlib(folder, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'matplotlib.figure', None)
    with pytest.raises(PathError, match=r"pip install 'snnjax\[plots\]'"):
        figure_file('new.png')


def test_the_error_is_told_by_argparse_and_by_commands(capsys):
    assert issubclass(PathError, UserError)
    parser = argparse.ArgumentParser()
    parser.add_argument('--csv', type=output_file)
    with pytest.raises(SystemExit):
        parser.parse_args(['--csv=/'])
    assert 'error: argument --csv: / is a folder: name a file in it' in capsys.readouterr().err
