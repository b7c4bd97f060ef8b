"""Everything that `docs/bad_input.md` says of wrong input is tried."""

import io
import json
import re
import shlex
import shutil
import tarfile
import zipfile

import pytest

from tests.conftest import ROOT
from tests.data.files import write_all
from tests.faults.commands import run_command

PAGE = (ROOT / 'docs/bad_input.md').read_text()


def rows():
    """Module, arguments and message of each line of the page's tables."""
    for section in PAGE.split('\n## ')[1:]:
        module, common = re.search(r'`python -m ([\w.]+) ?(.*?)`', section).groups()
        for arguments, message in re.findall(r'^\| `(.*?)` \| (.*?) \|$', section, re.MULTILINE):
            given = shlex.split(common) + shlex.split(arguments)
            yield pytest.param(module, given, message, id=arguments.strip('-')[:50])


def make_layouts(folder):
    """Folders and archives of photos that may be read in two ways, or not at all."""
    pets = {'cat/1.jpg': b'1', 'cat/2.jpg': b'2', 'dog/1.jpg': b'3', 'dog/2.jpg': b'4'}
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, 'w') as archive:
        for name, content in pets.items():
            archive.writestr(name, content)
    write_all(folder / 'train_beside_classes', pets | {'train/cat/1.jpg': b''})
    write_all(folder / 'train_and_Training', {'train/cat/1.jpg': b'', 'Training/cat/1.jpg': b''})
    write_all(
        folder / 'classes_above_splits',
        {f'{name}/{split}/1.jpg': b'' for name in ('cat', 'dog') for split in ('train', 'test')},
    )
    write_all(folder / 'archive_beside_its_files', pets | {'pets.zip': zipped.getvalue()})
    write_all(
        folder / 'Cat_for_training_and_cat_for_tests',
        {
            'train/Cat/1.jpg': b'',
            'train/dog/1.jpg': b'',
            'test/cat/1.jpg': b'',
            'test/dog/1.jpg': b'',
        },
    )
    write_all(folder / 'one_photo_of_owls', pets | {'owl/1.jpg': b''})
    with tarfile.open(folder / 'sparse.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo('cat/1.jpg')
        info.pax_headers = {'GNU.sparse.map': '0,0', 'GNU.sparse.size': '20'}
        tar.addfile(info)
    with zipfile.ZipFile(folder / 'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('cat/1.jpg', bytes(2**25))


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
    make_layouts(folder)
    shutil.copytree(digits_run[0], folder / 'runs/digits')
    shutil.copytree(digits_run[0], folder / 'runs/damaged')
    for path in (folder / 'runs/damaged/checkpoints').rglob('*'):
        if path.is_file():
            path.write_bytes(b'')
    for name in ('config.json', 'model.json', 'metrics.jsonl'):
        shutil.copytree(digits_run[0], copy := folder / 'runs' / f'damaged_{name.split(".")[0]}')
        (copy / name).write_text('{"cut off\n')
    for name, option in (('fraction', {'num_steps': 1.5}), ('more_classes', {'num_classes': 20})):
        shutil.copytree(digits_run[0], copy := folder / 'runs' / name)
        model = json.loads((copy / 'model.json').read_text())
        model['options'] |= option
        (copy / 'model.json').write_text(json.dumps(model))
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
