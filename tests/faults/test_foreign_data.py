"""Whatever data and weights from elsewhere name, none of it is imported or opened unasked."""

import contextlib
import json
import shutil
import sys

import pytest
import tensorflow_datasets as tfds

from snnjax import known
from snnjax.analysis.trained import data_as_trained, open_trained
from snnjax.data import DataOptions, PreparedDataError
from snnjax.data.records import Prepared
from snnjax.errors import WeightsError
from snnjax.tools import doctor, inspect
from snnjax.train.config import ConfigError
from snnjax.weights.folder import load_weights, open_weights
from tests.conftest import ROOT
from tests.data.files import write_all
from tests.faults.commands import run_command

CORE = 'tensorflow_datasets.core.features'
PAYLOAD = 'from pathlib import Path\nPath(__file__).with_name("imported").touch()\n'


def rename_class(features, name):
    features['featuresDict']['features']['label']['pythonClassName'] = name
    return features


def add_feature(features, **feature):
    features['featuresDict']['features']['extra'] = feature
    return features


# What features.json becomes: all of these are imported by TFDS, or look as if they could be.
FEATURES = {
    'the class of all features': lambda f: f | {'pythonClassName': 'evil.FeaturesDict'},
    'the class of a feature': lambda f: rename_class(f, 'evil.ClassLabel'),
    'a class in a package beside it': lambda f: rename_class(f, 'payloads.evil.ClassLabel'),
    'a class of another module of TFDS': lambda f: rename_class(f, f'{CORE}.evil.ClassLabel'),
    'a class of the standard library': lambda f: rename_class(f, 'antigravity.ClassLabel'),
    'a feature more': lambda f: add_feature(f, pythonClassName='evil.Tensor', tensor={}),
    'a feature in a sequence': lambda f: add_feature(
        f,
        pythonClassName=f'{CORE}.sequence_feature.Sequence',
        sequence={'feature': {'pythonClassName': 'evil.Tensor', 'tensor': {}}, 'length': '-1'},
    ),
    'a feature in a dictionary': lambda f: add_feature(
        f,
        pythonClassName=f'{CORE}.features_dict.FeaturesDict',
        featuresDict={'features': {'x': {'pythonClassName': 'evil.Tensor', 'tensor': {}}}},
    ),
    'the names of protocol buffers': lambda f: add_feature(f, python_class_name='evil.Tensor'),
    'the form of before': lambda f: {'type': 'evil.FeaturesDict', 'content': {}},
    'a feature in the form of before': lambda f: {
        'type': f'{CORE}.features_dict.FeaturesDict',
        'content': {'x': {'type': 'evil.Tensor', 'content': {'shape': [], 'dtype': 'uint8'}}},
    },
    'a list': lambda f: [{'pythonClassName': 'evil.FeaturesDict'}],
    'an encoding that is no text': lambda f: add_feature(
        f,
        pythonClassName=f'{CORE}.tensor_feature.Tensor',
        tensor={'dtype': ['uint8'], 'shape': {'dimensions': ['3']}, 'encoding': {'a': 1}},
    ),
    'more memory than there is': lambda f: add_feature(
        f,
        pythonClassName=f'{CORE}.tensor_feature.Tensor',
        tensor={'dtype': 'uint8', 'shape': {'dimensions': ['9999999', '9999999']}},
    ),
    'more classes than there are': lambda f: add_feature(
        f,
        pythonClassName=f'{CORE}.class_label_feature.ClassLabel',
        classLabel={'numClasses': '9' * 18},
    ),
    'a name that is a path': lambda f: (
        f['featuresDict']['features'].update({'../evil': {'pythonClassName': 'evil.X'}}) or f
    ),
}


@pytest.fixture(scope='module')
def original(digits_run, tmp_path_factory):
    """A folder with foreign weights in ``runs/evil``, data in it, and modules all over."""
    folder = tmp_path_factory.mktemp('foreign')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    recordings = {f's/{c}/{i}.bin': bytes([1, 2, 128, 0, i]) for c in 'ab' for i in range(10)}
    write_all(folder, recordings)
    shutil.copytree(digits_run[0], folder / 'runs/evil')
    data = folder / 'runs/evil/data'
    arguments = ['events_folder', '--name=mine', '--source=s', '--data_dir=runs/evil/data']
    assert run_command('snnjax.tools.prepare', arguments, folder).status == 0
    edit(folder / 'runs/evil/config.json', name_data)
    (folder / 'sweep').mkdir()
    (folder / 'sweep/evil_seed0').symlink_to(folder / 'runs/evil')
    (folder / 'sweep/results.csv').write_text('run,arguments,depth\nevil_seed0,,8\n')
    for place in (folder, folder / 'runs', folder / 'runs/evil', data, data / 'mine/1.0.0'):
        write_all(place, {'evil.py': PAYLOAD.encode(), 'payloads/evil.py': PAYLOAD.encode()})
    return folder


def name_data(config, name='mine', folder='runs/evil/data'):
    config['data'] |= {'name': name, 'dir': folder, 'split': 'by_order', 'crop_padding': 0}
    return config


def edit(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may plant something in."""
    copy = tmp_path / 'copy'
    shutil.copytree(original, copy, symlinks=True)
    return copy


def plant(folder, kind='the class of a feature'):
    edit(folder / 'runs/evil/data/mine/1.0.0/features.json', FEATURES[kind])


def assert_nothing_ran(folder):
    assert not list(folder.rglob('imported'))


WEIGHTS = '--weights=runs/evil'
COMMANDS = {
    'evaluate': [WEIGHTS],
    'energy': [WEIGHTS],
    'similarity': ['--weights', 'runs/evil'],
    'isometry': ['--weights', 'runs/evil'],
    'time_steps': [WEIGHTS],
    'report': ['runs/evil'],
    'compare': ['sweep', '--rounds=1'],
    'export': [WEIGHTS, '--format=stablehlo', '--out=out.stablehlo'],
}


def test_tfds_itself_would_run_what_is_planted(folder, monkeypatch):
    plant(folder)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(Exception, match='evil'):
        tfds.builder_from_directory(folder / 'runs/evil/data/mine/1.0.0')
    sys.modules.pop('evil', None)
    assert (folder / 'imported').exists()


@pytest.mark.parametrize('command', COMMANDS)
def test_the_folder_that_weights_name_is_not_opened_unasked(command, folder):
    plant(folder)
    # With what else is in it no data is needed to export.
    edit(
        folder / 'runs/evil/model.json',
        lambda model: {key: model[key] for key in ('name', 'options')},
    )
    result = run_command(f'snnjax.tools.{command}', COMMANDS[command], folder)
    assert 'runs/evil' in result.stderr
    assert 'give --data_dir' in result.stderr
    assert result.status == 2
    assert_nothing_ran(folder)


@pytest.mark.parametrize('command', COMMANDS)
def test_what_is_planted_is_refused_where_the_folder_is_given(command, folder):
    plant(folder)
    arguments = [*COMMANDS[command], '--data_dir=runs/evil/data']
    result = run_command(f'snnjax.tools.{command}', arguments, folder)
    assert 'features.json: label is not a feature that snnjax.tools.prepare writes' in result.stderr
    assert result.status == 2
    assert_nothing_ran(folder)


@pytest.mark.parametrize('kind', FEATURES)
def test_features_are_those_that_this_package_writes(kind, folder, monkeypatch):
    plant(folder, kind)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(PreparedDataError, match=r'features\.json'):
        Prepared(folder / 'runs/evil/data', 'mine')
    assert_nothing_ran(folder)


@pytest.mark.parametrize('options', [['--dry_run'], ['--workdir=runs/new']])
def test_training_refuses_what_is_planted_too(options, folder):
    plant(folder)
    config = '--config=configs/events_folder.py:name=mine,split=by_order'
    arguments = [config, '--config.data.dir=runs/evil/data', *options]
    result = run_command('snnjax.main', arguments, folder)
    assert 'is not a feature that snnjax.tools.prepare writes' in result.stderr
    assert result.status == 2
    assert_nothing_ran(folder)
    assert not (folder / 'runs/new').exists()


def test_the_doctor_looks_without_running_anything(folder, monkeypatch):
    plant(folder)
    monkeypatch.syspath_prepend(str(folder))
    result = doctor.check_data_sets(folder / 'runs/evil/data')
    assert result.status == 'FAIL'
    assert 'is not a feature that snnjax.tools.prepare writes' in result.found
    assert_nothing_ran(folder)


def legacy(info):
    """As TFDS wrote features before they had a file of their own."""
    feature = {'pythonClassName': 'evil.FeaturesDict', 'featuresDict': {'features': {}}}
    return info | {'features': feature, 'moduleName': 'evil', 'configName': 'evil.Config'}


@pytest.mark.parametrize(
    ('file', 'change', 'message'),
    [
        ('dataset_info.json', lambda i: i | {'splits': [{'name': '../x'}]}, 'an invalid split'),
        ('dataset_info.json', lambda i: i | {'splits': []}, 'expected train and test'),
        ('dataset_info.json', lambda i: i | {'name': '../../evil'}, 'does not have the name'),
        ('dataset_info.json', lambda i: [], 'does not have the name'),
        ('metadata.json', lambda m: m | {'height': 10**9}, 'sides of 1 to 2,048 pixels'),
        ('metadata.json', lambda m: m | {'class_sizes': 'evil'}, 'does not have sizes of'),
        ('metadata.json', lambda m: ['evil.Metadata'], 'is not a JSON object'),
    ],
)
def test_other_metadata_that_cannot_be_is_refused(file, change, message, folder):
    edit(folder / 'runs/evil/data/mine/1.0.0' / file, change)
    result = run_command('snnjax.tools.evaluate', [WEIGHTS, '--data_dir=runs/evil/data'], folder)
    assert message in result.stderr
    assert result.status == 2
    assert_nothing_ran(folder)


def test_names_in_places_that_nothing_is_taken_from_are_ignored(folder):
    version = folder / 'runs/evil/data/mine/1.0.0'
    edit(version / 'dataset_info.json', legacy)
    edit(version / 'metadata.json', lambda m: m | {'pythonClassName': 'evil.Metadata'})
    result = run_command('snnjax.tools.evaluate', [WEIGHTS, '--data_dir=runs/evil/data'], folder)
    # The weights are of another data set: that far it came.
    assert 'the weights do not fit the model' in result.stderr
    assert_nothing_ran(folder)


def test_a_name_of_a_data_set_leads_to_no_other_folder(folder):
    edit(
        folder / 'runs/evil/config.json',
        lambda c: name_data(c, name='../runs/evil/data/mine', folder='~/snnjax_data'),
    )
    plant(folder)
    result = run_command('snnjax.tools.evaluate', [WEIGHTS], folder)
    assert "unknown data set '../runs/evil/data/mine'" in result.stderr
    assert result.status == 2
    assert_nothing_ran(folder)


def evil_everywhere(value):
    """JSON whose strings are all a class of the payload, but for those that say what is where."""
    match value:
        case dict():
            kept = {key: evil_everywhere(item) for key, item in value.items()}
            return kept | {'pythonClassName': 'evil.Payload', 'imports': ['evil']}
        case list():
            return [evil_everywhere(item) for item in value]
        case str():
            return 'evil.Payload'
    return value


@pytest.mark.parametrize(
    'patterns',
    [
        ['config.json'],
        ['model.json'],
        ['environment.jsonl', 'checkpoints/*/*/metadata', 'checkpoints/*/metrics/metrics'],
        ['checkpoints/**/_METADATA', 'checkpoints/**/_CHECKPOINT_METADATA'],
    ],
)
def test_weights_name_nothing_that_is_imported(patterns, folder, digits_run, monkeypatch, capsys):
    run = folder / 'runs/evil'
    shutil.copy(digits_run[0] / 'config.json', run)
    planted = [path for pattern in patterns for path in run.glob(pattern) if path.is_file()]
    for path in planted:
        lines = path.read_text().splitlines() if path.suffix == '.jsonl' else [path.read_text()]
        path.write_text('\n'.join(json.dumps(evil_everywhere(json.loads(x))) for x in lines))
    assert planted
    monkeypatch.syspath_prepend(str(folder))
    # Whatever comes of it, each is read as far as it goes.
    for read in (load_weights, open_weights, open_trained, lambda path: inspect.main([path])):
        with contextlib.suppress(ConfigError, WeightsError):
            read(str(run))
    assert 'evil' not in sys.modules
    assert_nothing_ran(folder)


def test_the_folder_of_ones_own_training_is_followed(folder, monkeypatch):
    assert not known.is_known_folder(str(folder / 'runs/evil/data'), DataOptions.dir)
    monkeypatch.setenv('XDG_STATE_HOME', str(folder / 'state'))
    monkeypatch.chdir(folder)
    known.note_folder('runs/evil/data')
    known.note_folder('runs/evil/data')
    assert known.is_known_folder(str(folder / 'runs/evil/../evil/data'), DataOptions.dir)
    assert not known.is_known_folder(str(folder / 'runs/evil'), DataOptions.dir)
    assert len((folder / 'state/snnjax/data_folders.jsonl').read_text().splitlines()) == 1
    assert known.is_known_folder('~/snnjax_data', DataOptions.dir)


def test_the_folder_that_weights_name_is_asked_for_once(folder, monkeypatch):
    monkeypatch.setenv('XDG_STATE_HOME', str(folder / 'state'))
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match='give --data_dir'):
        data_as_trained('runs/evil', {})
    # Another folder says nothing of this one.
    data_as_trained('runs/evil', {'dir': 'runs'})
    with pytest.raises(ConfigError, match='give --data_dir'):
        data_as_trained('runs/evil', {})
    data_as_trained('runs/evil', {'dir': str(folder / 'runs/evil/data')})
    assert data_as_trained('runs/evil', {})['dir'] == 'runs/evil/data'
    edit(folder / 'runs/evil/config.json', lambda c: name_data(c, folder='runs/other'))
    with pytest.raises(ConfigError, match='give --data_dir'):
        data_as_trained('runs/evil', {})
