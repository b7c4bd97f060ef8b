"""The command, on recordings of lines that move: upright, level and slanted ones."""

import csv
import json
import zipfile

import numpy as np
import pytest

from snnjax.dart.options import DartError
from snnjax.dart.storage import load_classifier
from snnjax.data.records import Prepared
from snnjax.data.sources.event_sets import unpack
from snnjax.tools.dart import main
from snnjax.tools.prepare import main as prepare
from tests.data.files import write_all

SETTINGS = [
    *('--words=25', '--rings=5', '--wedges=8', '--outer=12', '--min_events=20', '--stride=3'),
    *('--levels=1,2', '--codebook_recordings=12', '--fifo=100', '--trees=30'),
]
CLASSES = {'level': 0.0, 'slanted': np.pi / 4, 'upright': np.pi / 2}


def recording(angle, seed, number=240):
    """Events of a line through the middle of the camera, 40 bits each."""
    rng = np.random.default_rng(seed)
    along, across = rng.uniform(-13, 13, number), rng.normal(0, 1, number)
    x = 17 + along * np.cos(angle) - across * np.sin(angle)
    y = 17 + along * np.sin(angle) + across * np.cos(angle)
    x, y = (np.clip(np.round(place), 0, 33).astype(int).tolist() for place in (x, y))
    return b''.join(
        bytes([*place, 128 * (i % 2), i >> 8, i & 255])
        for i, place in enumerate(zip(x, y, strict=True))
    )


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('lines')
    files = {
        f'{split}/{name}/{i}.bin': recording(angle, 100 * len(split) + i)
        for split, number in (('train', 8), ('test', 5))
        for name, angle in CLASSES.items()
        for i in range(number)
    }
    source = write_all(folder / 'source', files)
    arguments = ['--name=lines', f'--source={source}', f'--data_dir={folder}']
    assert prepare(['events_folder', *arguments]) == 0
    return folder


def run(data_dir, *arguments):
    return main(['--data.name=lines', f'--data.dir={data_dir}', *arguments])


@pytest.mark.parametrize('options', [(), ('--model=forest',), ('--pca=6', '--noise_filter=60')])
def test_lines_are_told_apart_and_the_classifier_is_kept(options, data_dir, tmp_path, capsys):
    results = [f'--json={tmp_path}/row.json', f'--csv={tmp_path}/rows.csv']
    out = tmp_path / 'lines.npz'
    assert run(data_dir, *SETTINGS, *options, *results, f'--out={out}') == 0
    row = json.loads((tmp_path / 'row.json').read_text())
    assert row['accuracy'] >= 0.8
    assert (row['dataset'], row['split'], row['test_recordings']) == ('lines', 'official', 15)
    assert (row['words'], row['stride'], row['undescribed']) == (25, 3, 0)
    assert row['train_events'] == 24 * 240
    # The file gives the same answers, and says what it was made with.
    assert run(data_dir, f'--classifier={out}', *results) == 0
    again = json.loads((tmp_path / 'row.json').read_text())
    same = row.keys() - {key for key in row if key.endswith('seconds')} - {'train_events'}
    assert {key: again[key] for key in same} == {key: row[key] for key in same}
    with (tmp_path / 'rows.csv').open() as file:
        assert [float(line['accuracy']) for line in csv.DictReader(file)] == [row['accuracy']] * 2
    prepared = Prepared(data_dir, 'lines')
    examples = [unpack(e, 34, 34) for e in prepared.records('test').read(range(15))]
    found = load_classifier(out).predict(examples)
    assert (found == np.repeat([0, 1, 2], 5)).mean() == row['accuracy']
    assert 'accuracy' in capsys.readouterr().out


def test_the_same_seed_makes_the_same_file(data_dir, tmp_path):
    for name in ('one', 'two'):
        assert run(data_dir, *SETTINGS, f'--out={tmp_path / name}') == 0
    one, two = (dict(np.load(tmp_path / name)) for name in ('one', 'two'))
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--words=30000'], 'words=30,000: the training recordings gave 984 descriptors'),
        (['--min_events=5000'], 'gave 0 descriptors; give more recordings, fewer words'),
        (['--wedges=7'], 'wedges=7 must be even'),
        (['--levels=0,1'], 'levels=(0, 1) must be'),
        (['--data.split=by_order'], 'lines has an official split'),
        (['--data.name=digits'], 'digits holds images: DART needs recordings'),
        (['--data.name=nmnist'], 'python -m snnjax.tools.prepare nmnist'),
        (['--classifier=x.npz', '--words=10'], '--words is for training'),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, data_dir, capsys):
    assert run(data_dir, *arguments) == 2
    assert message in capsys.readouterr().err


def test_files_that_are_no_classifiers_are_refused(data_dir, tmp_path, capsys):
    out = tmp_path / 'lines.npz'
    assert run(data_dir, *SETTINGS, f'--out={out}', '--model=forest') == 0
    arrays = dict(np.load(out))
    changes = {
        'is not a classifier': {'about': np.frombuffer(b'{}', np.uint8)},
        'not finite': {'words': np.full_like(arrays['words'], np.nan)},
        'invalid nodes': {'model/left': np.zeros_like(arrays['model/left'])},
        'expected float32': {'words': arrays['words'].astype(np.float64)},
        'allow_pickle': {'words': np.array([{}], object)},
    }
    for message, change in changes.items():
        np.savez(out, **arrays | change)
        with pytest.raises(DartError, match=message):
            load_classifier(out)
    np.savez_compressed(out, **arrays)
    assert run(data_dir, f'--classifier={out}') == 2
    assert 'it is compressed' in capsys.readouterr().err
    with zipfile.ZipFile(out, 'w') as archive:
        archive.writestr('about.npy', b'nothing')
    assert run(data_dir, f'--classifier={out}') == 2
    assert 'is not a classifier that snnjax.tools.dart has written' in capsys.readouterr().err
