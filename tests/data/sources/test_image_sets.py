"""Photos, laid out as people have them -> prepared data sets, whose files stay what they were."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from snnjax.data import DataOptions, DecodeError, open_dataset, records
from snnjax.data.sources import image_sets
from snnjax.data.sources.image_sets import imagenet_validation_wnids, imagenet_wnids
from snnjax.tools.prepare import main as prepare
from tests.data.files import tar_of, write_all


def photo(gray, kind='JPEG', size=(40, 30)):
    stream = io.BytesIO()
    Image.new('RGB', size, (gray, gray, gray)).save(stream, kind)
    return stream.getvalue()


def run(dataset, source, data_dir, *options):
    return prepare([dataset, f'--source={source}', f'--data_dir={data_dir}', *options])


def stored(name, data_dir, split):
    examples = records.Prepared(data_dir, name).records(split)
    return examples.read(range(len(examples)))


FOLDERS = {
    'train/cat/2.jpg': photo(10),
    'train/cat/10.JPEG': photo(20),
    'train/dog/1.png': photo(30, 'PNG'),
    'val/cat/1.jpg': photo(40),
    'val/dog/1.jpg': photo(50, 'PNG'),
    'val/dog/notes.txt': b'not a photo',
}


@pytest.mark.parametrize('inside', ['', 'flowers-2/data/'])
def test_a_folder_for_each_class(inside, tmp_path):
    write_all(tmp_path / 'source', {inside + name: data for name, data in FOLDERS.items()})
    assert run('folder', tmp_path / 'source', tmp_path, '--name=pets') == 0
    train, test = stored('pets', tmp_path, 'train'), stored('pets', tmp_path, 'test')
    assert [example['label'] for example in train] == [0, 0, 1]
    # The very bytes, in the natural order of their names.
    assert [example['image'] for example in train] == list(FOLDERS.values())[:3]
    assert train[1]['name'].decode() == f'{inside}train/cat/10.JPEG'
    assert [example['image'] for example in test] == list(FOLDERS.values())[3:5]
    prepared = records.Prepared(tmp_path, 'pets')
    assert prepared.features['label'].names == ['cat', 'dog']
    assert prepared.metadata['class_sizes'] == {'train': [2, 1], 'test': [1, 1]}


def test_folders_without_a_division_are_divided_by_the_configuration(tmp_path):
    files = {f'{name}/{i}.png': photo(i, 'PNG') for name in 'ab' for i in range(10)}
    assert run('folder', write_all(tmp_path / 'source', files), tmp_path, '--name=mine') == 0
    options = DataOptions(name='mine', dir=str(tmp_path), split='by_order', image_size=8)
    train, test = (open_dataset(options).load(split) for split in ('train', 'test'))
    assert train.examples(np.arange(18))['image'][:, 0, 0, 0].tolist() == 2 * list(range(9))
    assert test.examples(np.arange(2))['image'][:, 0, 0, 0].tolist() == [9, 9]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'a.jpg': photo(0)}, 'is not in a folder of its class'),
        ({'val/a/1.jpg': photo(0), 'test/b/1.jpg': photo(0)}, 'train and one of test and val'),
        ({'readme.txt': b''}, 'no files'),
        ({'a/1.tif': b'', 'b/1.TIF': b'', 'b/1.txt': b''}, 'it has 2 .tif, 1 .txt'),
    ],
)
def test_layouts_that_are_none(files, message, tmp_path, capsys):
    source = write_all(tmp_path / 'source', files)
    assert run('folder', source, tmp_path, '--name=mine') == 2
    assert message in capsys.readouterr().err


def test_classes_and_what_is_left_out_are_said(tmp_path, capsys):
    files = FOLDERS | {'train/cat/a.tif': b'', 'train/cat/b.tif': b'', 'val/owl/c.tif': b''}
    source = write_all(tmp_path / 'source', files)
    (source / 'val/fox').mkdir()
    assert run('folder', source, tmp_path, '--name=pets') == 0
    lines = capsys.readouterr().out.splitlines()
    table = ['pets train: 3 examples', 'pets test: 3 examples', 'classes (2):']
    table += ['  cat  2 train  1 test', '  dog  1 train  2 test']
    assert lines[:5] == [
        line.replace('3 examples', '2 examples')
        if 'test:' in line
        else line.replace('2 test', '1 test')
        for line in table
    ]
    assert lines[5:-1] == [
        'note: val is the test split',
        'note: folders without files of a supported type: val/fox, val/owl',
        'note: files skipped because of their suffix: 3 .tif, 1 .txt',
    ]
    # Again, for what is there.
    assert run('folder', source, tmp_path, '--name=pets') == 0
    assert capsys.readouterr().out.splitlines()[1:] == lines[:5]


def test_many_classes_are_shortened(tmp_path, capsys):
    files = {f'{i:03}/{k}.png': b'' for i in range(200) for k in range(2 + (i == 99))}
    assert run('folder', write_all(tmp_path / 'source', files), tmp_path, '--name=many') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ['classes (200):', '  000  2 undivided']
    assert lines[-3:-1] == ['  199  2 undivided', '  2 to 3 per class in undivided']
    assert len(lines) < 30


def test_photos_by_other_endings_are_read(tmp_path):
    names = ['a/1.jfif', 'a/2.JPE', 'b/3.dib', 'b/4.JPG']
    files = {name: photo(i, 'BMP' if 'dib' in name else 'JPEG') for i, name in enumerate(names)}
    assert run('folder', write_all(tmp_path / 'source', files), tmp_path, '--name=mine') == 0
    examples = stored('mine', tmp_path, 'undivided')
    assert [example['image'] for example in examples] == list(files.values())


def as_path(name):
    return name.decode('utf-8', 'surrogateescape')


@pytest.mark.parametrize('kind', ['folder', 'tar', 'zip'])
def test_names_that_are_not_utf8_are_stored_as_text(kind, tmp_path):
    names = [b'caf\xe9/1.png', b'caf\xe9/2.png', b'dog/\xff.png', b'dog/2.png']
    files = {as_path(name): photo(i, 'PNG') for i, name in enumerate(names)}
    if kind == 'folder':
        source = write_all(tmp_path / as_path(b'\xe9'), files)
    elif kind == 'tar':
        source = write_all(tmp_path, {'it.tar': tar_of(files)}) / 'it.tar'
    else:
        # As code page 437, which is what a zip file has that does not say UTF-8.
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, 'w') as archive:
            for number, data in enumerate(files.values()):
                archive.writestr(f'dir{number // 2}/{number}.png', data)
        content = stream.getvalue().replace(b'dir0', b'caf\x82').replace(b'dir1', b'caf\xe9')
        source = write_all(tmp_path, {'it.zip': content}) / 'it.zip'
    assert run('folder', source, tmp_path / 'data', '--name=mine') == 0
    examples = stored('mine', tmp_path / 'data', 'undivided')
    assert sorted(example['image'] for example in examples) == sorted(files.values())
    classes = records.Prepared(tmp_path / 'data', 'mine').features['label'].names
    assert classes == (['café', 'cafΘ'] if kind == 'zip' else [r'caf\xe9', 'dog'])


@pytest.mark.parametrize(
    'odd', ['lr[0.1]', 'a{b}', 'a*b', 'a?b', 'a b', 'ü', 'new\nline', 'a[0:3]', '{DATASET}', '~x']
)
def test_paths_are_only_paths(odd, tmp_path):
    source = write_all(tmp_path / odd / 'source', FOLDERS)
    assert run('folder', source, tmp_path / odd, '--name=pets') == 0
    options = DataOptions(name='pets', dir=str(tmp_path / odd), image_size=8)
    examples = open_dataset(options).load('test').examples(np.arange(2))
    assert examples['image'][:, 0, 0, 0].tolist() == [40, 50]


def test_a_data_folder_that_is_not_utf8_is_refused(tmp_path, capsys):
    source = write_all(tmp_path / 'source', FOLDERS)
    assert run('folder', source, tmp_path / as_path(b'caf\xe9'), '--name=pets') == 2
    assert r'caf\xe9/pets/1.0.0 must be UTF-8' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['cat ', ' cat', 'c\nat', 'c\rat', 'c\u2028at', 'cat\u3000'])
def test_a_class_name_that_cannot_be_read_back_is_refused(name, tmp_path, capsys):
    files = {f'{name}/{i}.png': photo(0) for i in range(2)} | {'a dog/1.png': photo(1)}
    source = write_all(tmp_path / 'source', files | {'a dog/2.png': photo(1)})
    assert run('folder', source, tmp_path, '--name=mine') == 2
    assert f'is named {name!r}: rename it' in capsys.readouterr().err
    pack(tmp_path / 'one.npz', [1, 2], [0, 1], class_names=np.array([name, 'a dog']))
    assert run('folder', tmp_path / 'one.npz', tmp_path, '--name=mine') == 2
    assert f'is named {name!r}: rename it' in capsys.readouterr().err


def pack(path, grays, classes, **changes):
    photos = [photo(gray) for gray in grays]
    arrays = {
        'data': np.frombuffer(b''.join(photos), np.uint8),
        'offsets': np.cumsum([0, *map(len, photos)]),
        'labels': np.array(classes),
        'names': np.array([f'{gray}.jpg'.encode() for gray in grays]),
        'class_names': np.array([b'cat', b'dog']),
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return photos


def test_packed_photos(tmp_path):
    photos = pack(tmp_path / 'pets_train.npz', [10, 20, 30], [1, 0, 1])
    pack(tmp_path / 'pets_val.npz', [40], [0])
    assert run('folder', tmp_path, tmp_path / 'data', '--name=pets') == 0
    train = stored('pets', tmp_path / 'data', 'train')
    assert [example['image'] for example in train] == [photos[1], photos[0], photos[2]]
    assert [example['label'] for example in train] == [0, 1, 1]
    assert train[0]['name'] == b'20.jpg'
    write_all(tmp_path, {'._pets_train.npz': b'resource fork'})
    assert run('folder', tmp_path / 'pets_val.npz', tmp_path / 'data', '--name=one') == 0
    assert len(stored('one', tmp_path / 'data', 'undivided')) == 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'offsets': None}, 'has no offsets: it is not a file of packed photos'),
        ({'class_names': np.array([b'dog', b'cat'])}, 'has other classes than'),
        ({'offsets': np.array([0, 10**9])}, 'offsets do not divide the'),
        ({'offsets': np.array([0, -1])}, 'offsets do not divide the'),
        ({'labels': np.array([7])}, 'has label 7'),
        ({'labels': np.array([0, 0])}, 'offsets do not divide the'),
        ({'names': np.array([b'x', b'y'])}, 'offsets do not divide the'),
        ({'names': np.array([object()], object)}, 'pickle'),
    ],
)
def test_packed_photos_that_do_not_fit_are_refused(changes, message, tmp_path, capsys):
    pack(tmp_path / 'pets_train.npz', [10], [0])
    pack(tmp_path / 'pets_val.npz', [40], [0], **changes)
    assert run('folder', tmp_path, tmp_path / 'data', '--name=pets') == 2
    assert message in capsys.readouterr().err


WNIDS = ('n01440764', 'n01443537', 'n15075141')
TRAIN = {f'{w}/{w}_{i}.JPEG': photo(10 * k + i) for k, w in enumerate(WNIDS) for i in range(2)}
VAL = {f'ILSVRC2012_val_{number:08}.JPEG': photo(number) for number in (1, 2, 50_000)}


def lay_out_imagenet(kind, folder):
    if kind == 'archives':
        by_class = {
            f'{wnid}.tar': tar_of(
                {k.partition('/')[2]: v for k, v in TRAIN.items() if k.startswith(wnid)}
            )
            for wnid in WNIDS
        }
        return write_all(
            folder,
            {'ILSVRC2012_img_train.tar': tar_of(by_class), 'ILSVRC2012_img_val.tar': tar_of(VAL)},
        )
    write_all(folder / 'train', TRAIN)
    in_folders = kind == 'folders'
    return write_all(
        folder / 'val',
        {
            (f'{imagenet_validation_wnids()[int(name[15:23]) - 1]}/' if in_folders else '')
            + name: data
            for name, data in VAL.items()
        },
    ).parent


@pytest.mark.parametrize('kind', ['archives', 'folders', 'flat validation'])
def test_imagenet_as_archives_or_folders(kind, tmp_path, capsys):
    source = lay_out_imagenet(kind, tmp_path / 'source')
    assert run('imagenet', source, tmp_path) == 2
    error = capsys.readouterr().err
    assert (
        'has MD5' in error if kind == 'archives' else '6 images for train, not 1,281,167' in error
    )
    assert not records.is_prepared(tmp_path, 'imagenet')
    assert run('imagenet', source, tmp_path, '--partial') == 0
    train, test = stored('imagenet', tmp_path, 'train'), stored('imagenet', tmp_path, 'test')
    assert [example['image'] for example in train] == list(TRAIN.values())
    assert [example['label'] for example in train] == [0, 0, 1, 1, 999, 999]
    labels = {example['name'][-13:]: int(example['label']) for example in test}
    for name in VAL:
        wnid = imagenet_validation_wnids()[int(name[15:23]) - 1]
        assert labels[name[-13:].encode()] == imagenet_wnids().index(wnid)


def test_complete_data_is_required_by_its_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, 'IMAGENET_SIZES', {'train': 6, 'test': 3})
    source = lay_out_imagenet('folders', tmp_path / 'source')
    assert run('imagenet', source, tmp_path) == 0
    assert len(stored('imagenet', tmp_path, 'train')) == 6


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({'train/n00000000/1.JPEG': photo(0), 'val/1.JPEG': photo(0)}, 'not in a class folder'),
        (
            {'train/n01440764/1.JPEG': photo(0), 'val/x_50001.JPEG': photo(0)},
            'to ILSVRC2012_val_00050000.JPEG',
        ),
        ({'val/1.JPEG': photo(0)}, 'no ILSVRC2012_img_train.tar or train in'),
        ({'trainval/n01440764/1.JPEG': photo(0)}, 'no ILSVRC2012_img_train.tar or train in'),
    ],
)
def test_what_is_not_of_imagenet_is_named(files, message, tmp_path, capsys):
    source = write_all(tmp_path / 'source', files)
    assert run('imagenet', source, tmp_path, '--partial') == 2
    assert message in capsys.readouterr().err


def test_wordnet_ids_are_in_their_order():
    assert len(imagenet_wnids()) == len(set(imagenet_wnids())) == 1000
    assert imagenet_wnids() == sorted(imagenet_wnids())
    assert len(imagenet_validation_wnids()) == 50_000
    counts = np.unique(imagenet_validation_wnids(), return_counts=True)[1]
    assert (counts == 50).all()
    # ILSVRC2012_val_00000001.JPEG is a sea snake.
    assert imagenet_validation_wnids()[0] == 'n01751748'


@pytest.fixture
def with_a_broken_one(tmp_path):
    files = {f'{split}/a/{i}.png': photo(i, 'PNG') for split in ('train', 'val') for i in range(4)}
    files |= {f'{split}/a/2.png': photo(2, 'PNG')[:50] for split in ('train', 'val')}
    assert run('folder', write_all(tmp_path / 'source', files), tmp_path, '--name=mine') == 0
    return lambda **options: open_dataset(
        DataOptions(name='mine', dir=str(tmp_path), image_size=16, **options)
    )


def test_a_broken_photo_is_named(with_a_broken_one):
    dataset = with_a_broken_one()
    with pytest.raises(DecodeError, match=r'train/a/2\.png: '):
        dataset.load('train').training_batch(np.arange(4), (0,), slice(0, 4))
    with pytest.raises(DecodeError, match=r'val/a/2\.png: '):
        dataset.load('test').examples(np.arange(4))


def test_broken_photos_are_left_out_where_that_is_asked_for(with_a_broken_one):
    dataset = with_a_broken_one(on_decode_error='skip')
    for batch in (
        dataset.load('train').training_batch(np.arange(4), (0,), slice(0, 4)),
        dataset.load('test').examples(np.arange(4)),
    ):
        assert batch['mask'].tolist() == [True, True, False, True]
        assert batch['image'][:, 0, 0, 0].tolist() == [0, 1, 0, 3]
    # Each other photo is what it was without the broken one.
    key, numbers = (0,), np.array([3, 2, 0])
    batch = dataset.load('train').training_batch(numbers, key, slice(0, 3))
    assert batch['label'].tolist() == [0, 0, 0]


def test_a_batch_of_nothing_but_broken_photos_is_empty(with_a_broken_one):
    batch = with_a_broken_one(on_decode_error='skip').load('test').examples(np.array([2]))
    assert batch['image'].shape == (1, 16, 16, 3)
    assert batch['mask'].tolist() == [False]
