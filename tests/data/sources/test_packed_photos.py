"""Photos in .npz files: read as they are meant, or refused with a sentence."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from snnjax.data import records
from snnjax.data.sources.packed_photos import read_packed
from snnjax.tools.prepare import main as prepare


def write(path, *, compressed=False, **changes):
    """Ten photos of one byte each, labels 0 and 1 in turn; what changes it may be an array."""
    arrays = {
        'data': np.arange(10, dtype=np.uint8),
        'offsets': np.arange(11),
        'labels': np.array([0, 1] * 5),
        'names': np.arange(10).astype(str),
    }
    save = np.savez_compressed if compressed else np.savez
    save(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


INTEGERS = np.array([0, 1] * 5)


@pytest.mark.parametrize(
    ('labels', 'class_names', 'expected'),
    [
        (INTEGERS.astype(np.uint8), None, ['0', '1']),
        (INTEGERS.astype(np.uint64), None, ['0', '1']),
        (INTEGERS.astype('>i4'), None, ['0', '1']),
        (INTEGERS.astype(bool), None, ['0', '1']),
        (INTEGERS.astype(np.float32), None, ['0', '1']),
        (INTEGERS.astype(np.float16), np.array(['cat', 'dog']), ['cat', 'dog']),
        (INTEGERS[:, None], None, ['0', '1']),
        (np.array(['cat', 'dog'] * 5), None, ['cat', 'dog']),
        (np.array([b'cat', b'dog'] * 5), None, ['cat', 'dog']),
        (np.array([['dog'], ['owl']] * 5), np.array(['dog', 'owl', 'rat']), ['dog', 'owl', 'rat']),
        (np.array(['猫', '犬'] * 5), None, ['犬', '猫']),
    ],
    ids=lambda value: str(getattr(value, 'dtype', ''))[:8],
)
def test_labels_are_read_whatever_they_are_stored_as(labels, class_names, expected, tmp_path):
    photos = read_packed(write(tmp_path / 'a.npz', labels=labels, class_names=class_names))
    assert photos.class_names == expected
    assert photos.labels.dtype == np.int64
    order = [1, 0] if expected == ['犬', '猫'] else [0, 1]
    assert photos.labels.tolist() == order * 5
    assert [photos.photo(i) for i in range(10)] == [bytes([i]) for i in range(10)]


@pytest.mark.parametrize('labels', [INTEGERS.astype(np.float32), np.array(['a', 'b'] * 5)])
def test_such_files_are_prepared(labels, tmp_path):
    source = write(tmp_path / '猫 [0.1] {a} * ?\n.npz', labels=labels)
    data_dir = tmp_path / 'data [1] {b} *\n?'
    arguments = ['folder', '--name=mine', f'--source={source}', f'--data_dir={data_dir}']
    assert prepare(arguments) == 0
    stored = records.Prepared(data_dir, 'mine').records('undivided')
    read = stored.read(range(len(stored)))
    assert [example['label'] for example in read] == [0] * 5 + [1] * 5
    assert [example['image'] for example in read] == [
        bytes([i]) for i in (*range(0, 10, 2), *range(1, 10, 2))
    ]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'labels': INTEGERS + 0.5}, 'labels has 0.5 at index 0'),
        ({'labels': np.where(INTEGERS, np.nan, 0)}, 'labels has nan at index 1'),
        ({'labels': np.where(INTEGERS, np.inf, 0)}, 'labels has inf at index 1'),
        ({'labels': INTEGERS - 1}, 'labels has -1 at index 0'),
        ({'labels': INTEGERS + 2**60}, f'labels has {2**60} at index 0'),
        ({'labels': np.full(10, 2**64 - 1, np.uint64)}, f'labels has {2**64 - 1} at index 0'),
        ({'labels': INTEGERS + 1j}, 'expected integers or names'),
        ({'labels': INTEGERS.astype('M8[s]')}, 'expected integers or names'),
        ({'labels': np.zeros((10, 2))}, 'float64 of shape (10, 2), expected one label per photo'),
        ({'labels': np.array(1)}, 'int64 of shape (), expected one label per photo'),
        ({'labels': np.zeros(0, int)}, 'expected one label per photo'),
        ({'labels': np.zeros(9, int)}, 'do not divide the 10 bytes of data into 9 photos'),
        ({'labels': np.array([0, None] * 5, object)}, 'labels: it has Python objects'),
        ({'labels': np.array([b'\xff'] * 10)}, 'labels is not UTF-8 text'),
        ({'labels': np.array(['a'] * 10), 'class_names': np.array(['b'])}, "labels has 'a'"),
        ({'class_names': np.array(['a'])}, 'labels has label 1, expected at most 0'),
        ({'class_names': np.array(['a', 'a'])}, 'class_names has a name twice'),
        ({'class_names': np.zeros((2, 2), int)}, 'class_names is int64 of shape (2, 2)'),
        ({'names': np.zeros(10)}, 'names is float64 of shape (10,), expected text'),
        ({'names': np.array(['a'] * 9)}, 'into 10 photos with 9 names'),
        ({'offsets': np.arange(11)[:, None]}, 'offsets is int64 of shape (11, 1)'),
        ({'offsets': np.arange(11.0)}, 'offsets is float64 of shape (11,)'),
        ({'offsets': np.arange(10)}, '10 offsets do not divide'),
        ({'offsets': np.arange(11) - 1}, '11 offsets do not divide'),
        ({'offsets': np.arange(11) + 1}, '11 offsets do not divide'),
        *(
            ({'offsets': np.array([*range(5), 3, *range(6, 11)], dtype)}, 'do not divide')
            for dtype in (np.int64, np.uint8, np.uint32, np.uint64)
        ),
        ({'data': np.arange(10)}, 'data is int64 of shape (10,), expected bytes'),
        ({'data': np.zeros((10, 1), np.uint8)}, 'data is uint8 of shape (10, 1), expected bytes'),
        ({'data': None}, 'has no data: it is not a file of packed photos'),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_a_sentence(changes, message, tmp_path, capsys):
    source = write(tmp_path / 'a.npz', **changes)
    arguments = ['folder', '--name=mine', f'--source={source}', f'--data_dir={tmp_path}']
    assert prepare(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert 'a.npz' in error
    assert not records.is_prepared(tmp_path, 'mine')


def header(dtype, shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {'descr': dtype, 'fortran_order': False, 'shape': shape}
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ('key', 'dtype', 'shape', 'size', 'message'),
    [
        # Zeros, which hardly take room.
        ('data', '|u1', (2**27,), 2**27, 'unpacks to 134,'),
        ('names', '<U1000000', (25,), 100_000_000, 'unpacks to 100,'),
        # More than there is.
        ('data', '|u1', (2**40,), 100, 'which do not fit uint8 of shape'),
        ('labels', '<i8', (2**62, 2**62), 100, 'which do not fit int64 of shape'),
        ('offsets', '<i8', (0, 2**62), 0, 'offsets'),
        ('labels', '<i8', (-1,), 8, 'which do not fit int64'),
    ],
)
def test_small_files_take_no_memory(key, dtype, shape, size, message, tmp_path):
    source = write(tmp_path / 'a.npz', **{key: None})
    with zipfile.ZipFile(source, 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f'{key}.npy', header(dtype, shape) + bytes(size))
    assert source.stat().st_size < 2**21
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_packed(source)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    'content', [b'', b'PK\3\4', b'\x93NUMPY\1\0', struct.pack('<I', 0x06054B50) + bytes(18)]
)
def test_what_is_no_npz_file_is_refused(content, tmp_path, capsys):
    (tmp_path / 'a.npz').write_bytes(content)
    arguments = ['folder', '--name=mine', f'--source={tmp_path}/a.npz', f'--data_dir={tmp_path}']
    assert prepare(arguments) == 2
    assert 'a.npz' in capsys.readouterr().err


def test_one_of_two_files_says_that_it_is_for_training(tmp_path, capsys):
    source = tmp_path / 'source'
    source.mkdir()
    write(source / 'Train.npz')
    write(source / 'rest.npz')
    (source / '._Train.npz').write_bytes(b'what macOS leaves')
    arguments = ['folder', '--name=mine', f'--source={source}', f'--data_dir={tmp_path}']
    assert prepare(arguments) == 2
    assert 'rest.npz has neither train nor val in its name' in capsys.readouterr().err
    (source / 'rest.npz').rename(source / 'Val.npz')
    assert prepare(arguments) == 0
    assert records.Prepared(tmp_path, 'mine').sizes == {'train': 10, 'test': 10}
