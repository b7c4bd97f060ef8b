import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from snnjax.analysis.outputs import write_output
from tests.conftest import ROOT


def test_a_file_is_written_with_its_folders(tmp_path):
    path = tmp_path / 'missing' / 'further' / ('n' * 255)
    write_output(path, 'µ')
    write_output(path, 'µJ')
    assert path.read_bytes() == b'\xc2\xb5J'
    write_output(path, b'\xff')
    assert path.read_bytes() == b'\xff'
    assert list(path.parent.iterdir()) == [path]


def test_names_that_are_not_utf_8_come_back(tmp_path):
    write_output(tmp_path / 'file', os.fsdecode(b'caf\xe9'))
    assert (tmp_path / 'file').read_bytes() == b'caf\xe9'


def test_a_link_goes_on_to_lead_to_the_file(tmp_path):
    (tmp_path / 'folder').mkdir()
    link = tmp_path / 'link'
    link.symlink_to('folder/file')
    write_output(link, 'one')
    assert link.is_symlink()
    assert (tmp_path / 'folder' / 'file').read_text() == 'one'


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    write_output(path, 'before')

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments))

    monkeypatch.setattr(os, 'fchmod', fail)
    with pytest.raises(OSError, match='No space left on device') as caught:
        write_output(path, 'after')
    assert caught.value.filename == str(path)
    assert path.read_text() == 'before'
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_beside_each_other_are_apart(tmp_path):
    """Processes of other machines may have the same number."""
    table = tmp_path / 'table'
    write_output(table, 'one')
    table.chmod(0o640)

    def write_all(name):
        for _ in range(50):
            write_output(tmp_path / name, name)
            assert (tmp_path / name).read_text() == name

    with ThreadPoolExecutor() as pool:
        list(pool.map(write_all, ['table', 'a', 'b', 'c']))
    assert table.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'b', 'c', 'table']


def test_devices_are_written_to(tmp_path):
    write_output(Path('/dev/null'), 'nothing')
    assert Path('/dev/null').is_char_device()
    with pytest.raises(OSError, match='No space left'):
        write_output(Path('/dev/full'), 'something')
    code = (
        'from pathlib import Path\nfrom snnjax.analysis.outputs import write_output\n'
        'print("before", flush=True)\nwrite_output(Path("/dev/stdout"), "one\\n")\nprint("after")'
    )
    out = tmp_path / 'out'
    with out.open('w') as file:
        subprocess.run([sys.executable, '-c', code], stdout=file, check=True, cwd=ROOT)
    assert out.read_text().splitlines() == ['before', 'one', 'after']
