"""Folders of classes and splits, by the names that people give them."""

import itertools

import pytest

from snnjax.data.sources.archives import survey
from snnjax.data.sources.class_folders import group_by_class, split_kind
from tests.data.files import tar_of, write_all
from tests.data.sources.test_archives import zip_of


def files_of(*splits, classes=('cat', 'dog'), count=2):
    return {
        f'{split}/{name}/{number}.bin': f'{split} {name} {number}'.encode()
        for split, name, number in itertools.product(splits, classes, range(count))
    }


def group(source):
    return group_by_class(survey(source, r'\.bin', max_size=100), source)


def contents(grouped):
    """The contents of the files by split and class."""
    return {
        (split, grouped.class_names[label]): [
            member.read().decode() for member, other in grouped.splits[split] if other == label
        ]
        for split in grouped.splits
        for label in range(len(grouped.class_names))
    }


@pytest.mark.parametrize('kind', ['folder', 'pets.tar', 'pets.zip'])
@pytest.mark.parametrize(
    ('train', 'test'),
    [
        ('train', 'valid'),
        ('Training', 'Test'),
        ('training_set', 'test_set'),
        ('TRAIN', 'dev'),
        ('train', 'Validation'),
        ('trains', 'evals'),
        ('Train Images', 'evaluation-images'),
        ('TrainSet', 'testing data'),
        ('train2017', 'val2017'),
        ('train/train', 'test/test'),
        ('train/Training', 'test'),
        ('dataset/train', 'dataset/validation_set'),
        ('a/b/train/images', 'a/b/val/images'),
    ],
)
def test_splits_are_known_by_their_usual_names(train, test, kind, tmp_path):
    files = files_of(train, test)
    archived = {'pets.tar': tar_of(files), 'pets.zip': zip_of(files)}
    write_all(tmp_path, files if kind == 'folder' else {kind: archived[kind]})
    grouped = group(tmp_path)
    assert grouped.class_names == ['cat', 'dog']
    assert contents(grouped) == {
        (split, name): [f'{folder} {name} 0', f'{folder} {name} 1']
        for split, folder in (('train', train), ('test', test))
        for name in ('cat', 'dog')
    }
    val = test.split('/')[-2 if 'images' in test.split('/') else -1]
    expected = [] if split_kind(val) == 'test' else [f'{val} is the test split']
    assert grouped.notes == expected


def test_archives_may_be_splits_or_classes(tmp_path):
    archives = {'train.zip': zip_of(files_of('train')), 'val.tar': tar_of(files_of('val'))}
    assert list(group(write_all(tmp_path / 'splits', archives)).splits) == ['train', 'test']
    archives = {
        f'{name}.zip': zip_of({f'{name}/{i}.bin': f'{name}{i}'.encode() for i in range(2)})
        for name in ('cat', 'dog')
    }
    grouped = group(write_all(tmp_path / 'classes', archives))
    assert contents(grouped)['undivided', 'dog'] == ['dog0', 'dog1']


def test_test_is_the_test_split_where_there_is_val_too(tmp_path):
    grouped = group(write_all(tmp_path, files_of('train', 'val', 'test')))
    assert contents(grouped)['test', 'cat'] == ['test cat 0', 'test cat 1']
    assert grouped.notes == ['test is the test split; the 4 files of val are left out']
    assert len(grouped.splits['train']) == 4


def test_a_class_of_a_split_may_be_named_as_a_split_is(tmp_path):
    grouped = group(write_all(tmp_path, files_of('train', 'test', classes=('bus', 'train'))))
    assert grouped.class_names == ['bus', 'train']


def test_one_split_is_undivided(tmp_path):
    grouped = group(write_all(tmp_path, files_of('pets/train')))
    assert list(grouped.splits) == ['undivided']
    assert grouped.notes == ['train is the only split: data.split says how to divide it']


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (files_of('train') | {'owl/1.bin': b''}, 'has train, named as a split is, beside owl'),
        ({'cat/1.bin': b'', 'test/1.bin': b''}, 'has test, named as a split is, beside cat'),
        (files_of('train', 'vaild'), 'has train, named as a split is, beside vaild'),
        (files_of('train', 'Train', 'test'), 'Train, train, all named as the train split is'),
        (files_of('train', 'val', 'dev'), 'dev, val, all named as the val split is'),
        (files_of('val', 'test'), 'train and one of test and val are needed'),
        (files_of('cat', 'dog', classes=('train', 'test')), 'is not above all classes'),
        (files_of('data/train', 'data/test', 'more'), 'is not above all classes'),
        (files_of('train/train', 'train/val', 'test'), 'is not above all classes'),
        (files_of('train/test', 'test/train'), 'is not above all classes'),
        (files_of('fold1', 'fold2', 'fold3'), 'has cat, dog in each of fold1, fold2, fold3'),
        (files_of('seg_train', 'seg_test'), 'may be splits or classes'),
        (files_of('trainA', 'trainB', 'testA', 'testB'), 'may be splits or classes'),
        (files_of('train', 'test') | {'test/1.bin': b''}, r'test/1\.bin in .* is not in a folder'),
        (files_of('train', 'test') | {'1.bin': b''}, r'1\.bin in .* is not in a folder'),
        (
            {
                'cat.zip': zip_of({'1.bin': b'a', '3.bin': b'c'}),
                'pets.zip': zip_of({'cat/1.bin': b'a', 'b/2.bin': b''}),
            },
            r'pets\.zip in .* has folders b, cat in it: give the archive alone',
        ),
    ],
)
def test_layouts_that_may_be_read_in_two_ways_are_refused(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        group(write_all(tmp_path, files))


@pytest.mark.parametrize(
    ('names', 'others'),
    [(('Cat', 'dog'), ('cat', 'dog')), (('café', 'dog'), ('cafe\u0301', 'dog'))],
)
def test_names_that_differ_between_splits_are_refused(names, others, tmp_path):
    files = files_of('train', classes=names) | files_of('test', classes=others)
    with pytest.raises(ValueError, match='may be one class or several: give a class the same name'):
        group(write_all(tmp_path, files))


def test_letters_may_be_classes_in_both_cases(tmp_path):
    grouped = group(write_all(tmp_path, files_of('train', 'test', classes=('A', 'a'))))
    assert grouped.class_names == ['A', 'a']
    assert grouped.notes == ['A, a differ in case only, and are classes of their own']


def test_accents_written_in_two_ways_are_not_two_classes(tmp_path):
    with pytest.raises(ValueError, match='may be one class or several'):
        group(write_all(tmp_path, files_of('.', classes=('café', 'cafe\u0301'))))


def test_a_class_of_one_file_cannot_be_divided(tmp_path):
    write_all(tmp_path, files_of('.') | {'owl/1.bin': b'', 'emu/1.bin': b''})
    with pytest.raises(ValueError, match='has one file of emu, owl: each class needs two'):
        group(tmp_path)
