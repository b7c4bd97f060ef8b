"""The official files: the real ones where they are to be had, and small ones made like them."""

import dataclasses
import functools
import hashlib
import io
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest

from snnjax.data import DataOptions, DatasetNotPreparedError, open_dataset
from snnjax.data.datasets import PLANS, STATISTICS
from snnjax.data.sources import cifar
from snnjax.tools.prepare import main as prepare


class Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 did."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + struct.pack('<i', len(content)) + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def official_file(rng, download, count):
    """A file in the official form, with its images."""
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    content = {b'data': images.transpose(0, 3, 1, 2).reshape(count, -1)}
    for kind, key in download.label_keys.items():
        content[key] = rng.integers(0, len(download.class_names[kind]), count).tolist()
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    raw = stream.getvalue().replace(b'cnumpy._core.multiarray', b'cnumpy.core.multiarray')
    return raw, images, content


@pytest.fixture(params=['cifar10', 'cifar100'])
def small(request, tmp_path, monkeypatch):
    """A small download, as folder and as archive, whose checksums the reader is told to expect."""
    official = {'cifar10': cifar.CIFAR10, 'cifar100': cifar.CIFAR100}[request.param]
    rng = np.random.default_rng(0)
    folder = tmp_path / official.folder
    folder.mkdir()
    md5, expected = {}, {}
    for split, names in official.md5.items():
        files = {name: official_file(rng, official, 7) for name in names}
        md5[split] = {name: hashlib.md5(raw).hexdigest() for name, (raw, _, _) in files.items()}
        expected[split] = np.concatenate([images for _, images, _ in files.values()])
        for name, (raw, _, _) in files.items():
            (folder / name).write_bytes(raw)
    archive = tmp_path / 'archive' / official.archive
    archive.parent.mkdir()
    with tarfile.open(archive, 'w:gz') as tar:
        tar.add(folder, folder.name)
    download = dataclasses.replace(
        official, md5=md5, archive_md5=hashlib.md5(archive.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(
        PLANS, request.param, functools.partial(cifar.plan, request.param, download)
    )
    return request.param, download, folder, archive, expected


def test_reads_folder_and_archive_alike_wherever_they_lie(small):
    _, download, folder, archive, expected = small
    for source in (folder, folder.parent, archive, archive.parent):
        for split, images in expected.items():
            examples = list(cifar.read_official(source, download, split))
            np.testing.assert_array_equal([e['image'] for e in examples], images)
            for kind, names in download.class_names.items():
                assert all(0 <= e[kind] < len(names) for e in examples)


def test_prepares_once_and_loads_in_the_official_order(small, tmp_path, capsys):
    name, download, folder, _, expected = small
    command = [name, f'--source={folder}', f'--data_dir={tmp_path / "data"}']
    assert prepare(command) == 0
    for split, images in expected.items():
        loaded = open_dataset(DataOptions(name=name, dir=str(tmp_path / 'data'))).load(split)
        np.testing.assert_array_equal(loaded.images, images)
        labels = [e['label'] for e in cifar.read_official(folder, download, split)]
        np.testing.assert_array_equal(loaded.labels, labels)
        assert loaded.images.dtype == np.uint8
        assert loaded.labels.dtype == np.int32
    capsys.readouterr()
    assert prepare(command) == 0
    assert 'already exists' in capsys.readouterr().out


def test_a_changed_file_is_refused(small, tmp_path, capsys):
    name, download, folder, archive, _ = small
    victim = folder / next(iter(download.md5['test']))
    victim.write_bytes(victim.read_bytes()[:-1] + b'!')
    archive.write_bytes(archive.read_bytes()[:-1])
    for source, culprit in ((folder, victim.name), (archive, archive.name)):
        data_dir = tmp_path / f'data_of_{culprit}'
        assert prepare([name, f'--source={source}', f'--data_dir={data_dir}']) == 2
        assert f'error: {culprit} has MD5' in capsys.readouterr().err
        with pytest.raises(DatasetNotPreparedError):
            open_dataset(DataOptions(name=name, dir=str(data_dir)))


def test_a_missing_download_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'give the folder cifar-10-batches-py or the'):
        list(cifar.read_official(tmp_path, cifar.CIFAR10, 'train'))


def test_a_pickle_can_make_nothing_but_arrays(tmp_path):
    raw = pickle.dumps({'data': print}, protocol=2)
    (tmp_path / 'test_batch').write_bytes(raw)
    md5 = {'test': {'test_batch': hashlib.md5(raw).hexdigest()}}
    download = dataclasses.replace(cifar.CIFAR10, md5=md5)
    with pytest.raises(ValueError, match=r'print does not belong in an image file'):
        list(cifar.read_official(tmp_path, download, 'test'))


def test_prepare_names_what_it_knows(tmp_path, capsys):
    assert prepare(['cifar1', f'--source={tmp_path}', f'--data_dir={tmp_path}']) == 2
    assert "unknown data set 'cifar1'; did you mean cifar" in capsys.readouterr().err
    assert prepare(['digits', f'--source={tmp_path}', f'--data_dir={tmp_path}']) == 2
    assert 'needs no preparation' in capsys.readouterr().err


def test_class_names_are_complete():
    assert [len(names) for names in cifar.CIFAR10.class_names.values()] == [10]
    assert [len(set(names)) for names in cifar.CIFAR100.class_names.values()] == [100, 20]


def test_real_cifar10_is_read_pixel_by_pixel(real_data_dir, readers, tmp_path):
    readers.write_cifar10_batches(real_data_dir / 'cifar10', tmp_path)
    mean, std = STATISTICS['cifar10']
    for split in ('train', 'test'):
        images, labels = readers.load_cifar10(real_data_dir / 'cifar10', split)
        examples = cifar.read_official(tmp_path, cifar.CIFAR10, split)
        for i, example in enumerate(examples):
            assert example['label'] == labels[i]
            assert (example['image'] == images[i]).all()
        assert i + 1 == len(images)
        if split == 'train':
            np.testing.assert_allclose(images.mean((0, 1, 2)), mean, atol=1e-3)
            np.testing.assert_allclose(images.std((0, 1, 2)), std, atol=1e-3)
