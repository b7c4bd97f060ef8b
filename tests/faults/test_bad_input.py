"""Everything that `docs/bad_input.md` says of wrong input is tried."""

import json
import re
import shlex
import shutil

import pytest

from tests.conftest import ROOT
from tests.faults.commands import run_command

PAGE = (ROOT / 'docs/bad_input.md').read_text()


def rows():
    """Module, arguments and message of each line of the page's tables."""
    for section in PAGE.split('\n## ')[1:]:
        module, common = re.search(r'`python -m ([\w.]+) ?(.*?)`', section).groups()
        for arguments, message in re.findall(r'^\| `(.*?)` \| (.*?) \|$', section, re.MULTILINE):
            given = shlex.split(common) + shlex.split(arguments)
            yield pytest.param(module, given, message, id=arguments.strip('-')[:50])


@pytest.fixture(scope='module')
def folder(digits_run, tmp_path_factory):
    """What the page says that there is."""
    folder = tmp_path_factory.mktemp('bad input')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    (folder / 'no_file.txt').write_text('')
    (folder / 'typo.py').write_text('def get_config(:\n')
    (folder / 'empty.py').write_text('')
    (folder / 'fails.py').write_text('def get_config():\n    return {}["learning_rate"]\n')
    (folder / 'download').mkdir()
    (folder / 'download/cifar-10-python.tar.gz').write_bytes(b'\x1f\x8b\x08 cut off')
    (folder / 'photos').mkdir()
    shutil.copytree(digits_run[0], folder / 'runs/digits')
    shutil.copytree(digits_run[0], folder / 'runs/damaged')
    for path in (folder / 'runs/damaged/checkpoints').rglob('*'):
        if path.is_file():
            path.write_bytes(b'')
    for name in ('config.json', 'model.json', 'metrics.jsonl'):
        shutil.copytree(digits_run[0], copy := folder / 'runs' / f'damaged_{name.split(".")[0]}')
        (copy / name).write_text('{"cut off\n')
    shutil.copytree(digits_run[0], folder / 'runs/without_config')
    (folder / 'runs/without_config/config.json').unlink()
    shutil.copytree(digits_run[0], folder / 'runs/elsewhere')
    config = json.loads((digits_run[0] / 'config.json').read_text())
    config['data'] |= {'name': 'cifar10', 'dir': '/mnt/theirs'}
    (folder / 'runs/elsewhere/config.json').write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(('module', 'arguments', 'message'), list(rows()))
def test_wrong_input_is_answered_as_documented(folder, module, arguments, message):
    result = run_command(module, arguments, folder)
    expected = '.*'.join(re.escape(part.strip()) for part in message.split('…'))
    assert re.search(expected, ' '.join(result.stderr.split()))
    assert result.status == 2
    assert 'error: ' in result.stderr
    assert 'Traceback' not in result.stderr


def test_the_page_has_its_tables():
    assert len(list(rows())) > 40
