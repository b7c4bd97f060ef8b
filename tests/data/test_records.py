"""Writing a data set: whole or not at all, the same bytes whatever interrupted it."""

import dataclasses
import errno
import fcntl
import os
import pickle
import random
import re
import sys
import textwrap
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from snnjax.data import DatasetNotPreparedError, PreparedDataError, metadata, records
from snnjax.data.records import Plan, Prepared
from tests.processes import run


class Numbers:
    """Examples that are their numbers, counting how often each is made."""

    def __init__(self, size, broken=None):
        self.size, self.broken, self.made = size, broken, []

    def __len__(self):
        return self.size

    def __getitem__(self, number, /):
        if number == self.broken:
            raise ValueError(f'example {number} is broken')
        self.made.append(number)
        return {'value': np.full(50, number, np.uint8), 'name': f'number {number}'}


def make_plan(train=20, test=4, broken=None, **changes):
    options = {
        'name': 'numbers',
        'features': tfds.features.FeaturesDict(
            {
                'value': tfds.features.Tensor(shape=(50,), dtype=np.uint8),
                'name': tfds.features.Text(),
            }
        ),
        'splits': {'train': Numbers(train, broken), 'test': Numbers(test)},
        'source': 'counting',
        'example_bytes': 100,
        'description': 'Numbers.',
        'metadata': {'last': train - 1},
    }
    return Plan(**options | changes)


@pytest.fixture
def small_shards(monkeypatch):
    """Seven examples a file."""
    monkeypatch.setattr(records, 'SHARD_BYTES', 700)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_examples_come_back_in_their_order(small_shards, tmp_path):
    records.write(make_plan(), tmp_path)
    prepared = Prepared(tmp_path, 'numbers')
    assert prepared.sizes == {'train': 20, 'test': 4}
    assert prepared.metadata == {'last': 19}
    examples = prepared.records('train')
    assert len(examples) == 20
    read = examples.read(np.array([19, 0, 7, 6, 7]))
    assert [example['value'][0] for example in read] == [19, 0, 7, 6, 7]
    assert read[0]['name'] == b'number 19'
    names = {path.name for path in prepared.folder.iterdir()}
    assert {f'numbers-train.array_record-0000{i}-of-00003' for i in range(3)} < names


def test_another_process_can_be_given_the_records(tmp_path):
    records.write(make_plan(), tmp_path)
    examples = Prepared(tmp_path, 'numbers').records('test')
    examples.read([0])
    assert pickle.loads(pickle.dumps(examples)).read([3])[0]['value'][0] == 3


def test_tfds_reads_the_files_too(small_shards, tmp_path):
    folder = records.write(make_plan(), tmp_path)
    source = tfds.builder_from_directory(folder).as_data_source('test')
    assert [example['value'][0] for example in source] == [0, 1, 2, 3]


def test_a_missing_file_is_named(small_shards, tmp_path):
    folder = records.write(make_plan(), tmp_path)
    (folder / 'numbers-train.array_record-00001-of-00003').unlink()
    with pytest.raises(PreparedDataError, match='has no numbers-train'):
        Prepared(tmp_path, 'numbers')


def test_a_file_with_a_changed_byte_is_refused_or_read_as_it_was(tmp_path):
    path = records.write(make_plan(), tmp_path) / 'numbers-train.array_record-00000-of-00001'
    content = path.read_bytes()
    used = np.flatnonzero(np.frombuffer(content, np.uint8))  # Most of it is padding.
    rng, refused = random.Random(0), 0
    for number in range(200):
        changed = bytearray(content)
        place = int(rng.choice(used))
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed if number % 4 else changed[:place])
        try:
            examples = Prepared(tmp_path, 'numbers').records('train').read(np.arange(20))
        except (PreparedDataError, RuntimeError):
            refused += 1
        else:
            assert [set(example['value']) for example in examples] == [{i} for i in range(20)]
            assert [example['name'] for example in examples] == [
                b'number %d' % i for i in range(20)
            ]
    assert refused > 100


def test_a_folder_may_be_renamed(small_shards, tmp_path):
    records.write(make_plan(), tmp_path)
    (tmp_path / 'numbers').rename(tmp_path / 'others')
    assert Prepared(tmp_path, 'others').records('test').read([3])[0]['value'][0] == 3


def test_columns_are_unpacked_to_a_size(monkeypatch):
    column = np.arange(1000, dtype=np.int32)
    packed = zlib.compress(column.tobytes())
    np.testing.assert_array_equal(metadata.inflate(packed, np.int32), column)
    assert len(metadata.inflate(zlib.compress(b''), np.int32)) == 0
    monkeypatch.setattr(metadata, 'MAX_COLUMN_BYTES', 3999)
    for content in (packed, packed[:-5], b'', b'damaged', zlib.compress(b'abc')):
        with pytest.raises(PreparedDataError, match='a column'):
            metadata.inflate(content, np.int32)


def test_what_is_there_stays(tmp_path):
    folder = records.write(make_plan(), tmp_path)
    before = contents(folder)
    again = make_plan(source='another')
    assert records.write(again, tmp_path) == folder
    assert contents(folder) == before
    assert again.splits['train'].made == []


def test_goes_on_after_an_error_with_the_next_file(small_shards, tmp_path):
    with pytest.raises(ValueError, match='example 15 is broken'):
        records.write(make_plan(broken=15), tmp_path)
    assert not records.is_prepared(tmp_path, 'numbers')
    with pytest.raises(DatasetNotPreparedError):
        Prepared(tmp_path, 'numbers')
    plan = make_plan()
    records.write(plan, tmp_path)
    # Files of 6 or 7: what was written whole is not made again.
    assert plan.splits['train'].made == list(range(13, 20))


@pytest.mark.parametrize(
    'changes', [{'source': 'another'}, {'metadata': {'last': 0}}, {'train': 21}]
)
def test_another_plan_begins_anew(small_shards, tmp_path, changes):
    with pytest.raises(ValueError, match='example 15 is broken'):
        records.write(make_plan(broken=15), tmp_path)
    plan = make_plan(**changes)
    records.write(plan, tmp_path)
    assert plan.splits['train'].made == list(range(len(plan.splits['train'])))


def test_needs_the_space_before_it_begins(tmp_path):
    plan = make_plan(example_bytes=2**60)
    with pytest.raises(OSError, match='GiB are needed') as raised:
        records.write(plan, tmp_path)
    assert raised.value.errno == errno.ENOSPC
    assert plan.splits['train'].made == []


def test_one_process_writes_at_a_time(tmp_path):
    folder = tmp_path / 'numbers'
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(BlockingIOError, match='another process is writing'):
            records.write(make_plan(), tmp_path)
    finally:
        os.close(descriptor)
    records.write(make_plan(), tmp_path)


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="numbers has no examples in its split 'test'"):
        records.write(make_plan(test=0), tmp_path)


def test_missing_data_has_the_command_that_makes_it(tmp_path):
    command = f'python -m snnjax.tools.prepare numbers --source=.* --data_dir={tmp_path}'
    with pytest.raises(DatasetNotPreparedError, match=command):
        Prepared(tmp_path, 'numbers')


@pytest.mark.parametrize(('total', 'example_bytes'), [(1, 1), (20, 100), (3, 10**9), (1000, 7)])
def test_shards_have_every_example_once(small_shards, total, example_bytes):
    plan = make_plan(train=total, example_bytes=example_bytes)
    shards = plan.shards('train')
    assert [i for shard in shards for i in shard] == list(range(total))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_fingerprint_is_of_what_changes_the_files():
    plan = make_plan()
    assert plan.fingerprint() == make_plan().fingerprint()
    assert plan.fingerprint() == dataclasses.replace(plan, description='Other.').fingerprint()


# Whatever touches the disk or makes an example may be the last thing that happens.
KILLED = """
    import os, pathlib, random, signal, sys
    sys.path[:0] = [{root!r}, {here!r}]
    from snnjax.data import records
    import test_records

    records.SHARD_BYTES = 700

    def prepare(target, kill_at):
        left = kill_at

        def count(function):
            def counted(*args, **options):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = function(*args, **options)
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result
            return counted

        pathlib.Path.rename = count(pathlib.Path.rename)
        pathlib.Path.mkdir = count(pathlib.Path.mkdir)
        pathlib.Path.unlink = count(pathlib.Path.unlink)
        records.sync = count(records.sync)
        records._write_metadata = count(records._write_metadata)
        test_records.Numbers.__getitem__ = count(test_records.Numbers.__getitem__)
        records.write(test_records.make_plan(), target)

    def in_child(target, kill_at):
        child = os.fork()
        if not child:
            prepare(target, kill_at)
            os._exit(0)
        return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

    kills = 0
    rng = random.Random(0)
    # Every point once, one kill a preparation; then several at random.
    for number in range(130):
        target = pathlib.Path({target!r}) / str(number)
        kill_at = number + 1 if number < 120 else rng.randint(1, 40)
        while in_child(target, kill_at):
            kills += 1
            assert records.is_prepared(target, 'numbers') in (True, False)
            if records.is_prepared(target, 'numbers'):
                records.Prepared(target, 'numbers')
            kill_at = rng.randint(1, 60) if number >= 120 else 0
    print('kills', kills)
"""


def test_killed_anywhere_and_started_again_gives_the_same_bytes(small_shards, tmp_path):
    expected = contents(records.write(make_plan(), tmp_path / 'whole'))
    code = textwrap.dedent(KILLED).format(
        root=str(records.__file__).removesuffix('/snnjax/data/records.py'),
        here=str(__file__).removesuffix('/test_records.py'),
        target=str(tmp_path / 'killed'),
    )
    result = run([sys.executable, '-c', code])
    assert result.returncode == 0, result.stderr
    kills = int(re.search(r'kills (\d+)', result.stdout)[1])
    assert kills > 60
    folders = [path / 'numbers' for path in (tmp_path / 'killed').iterdir()]
    assert len(folders) == 130
    for folder in folders:
        assert [path.name for path in folder.iterdir()] == [records.VERSION]
        assert contents(folder / records.VERSION) == expected
