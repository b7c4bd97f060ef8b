import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.params import by_name, stack_layers
from snnjax.tools import inspect
from snnjax.train.checkpoints import Checkpoints
from snnjax.train.metric_writer import read_metrics
from snnjax.train.state import TrainState
from snnjax.weights.folder import describe_weights, load_weights, save_safetensors, save_weights


@pytest.fixture(scope='module')
def found(digits_run):
    return inspect.inspect(digits_run[0])


def zeros(name, **options):
    model = create_model(name, **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A folder of weights."""
    folder = tmp_path_factory.mktemp('weights')
    options = {'blocks': (1, 3, 1), 'widths': (2, 3, 4)}
    save_weights(folder, zeros('ms_resnet20', **options), 'ms_resnet20', options)
    return folder


def test_a_run_tells_what_is_not_the_default(found):
    assert found['config'] == {
        'epochs': [1, 100],
        'batch_size': [40, 100],
        'eval_batch_size': [360, 500],
        'model.name': ['ms_resnet8', 'ms_resnet20'],
        'model.num_steps': [2, 4],
        'data.name': ['digits', 'cifar10'],
        'log_every': [10, 50],
        'gradient_norms': [True, False],
    }
    assert found['model'] == {
        'name': 'ms_resnet8',
        'options': {'num_steps': 2, 'num_classes': 10, 'in_channels': 1},
    }


def test_a_run_lists_its_checkpoints_with_their_evaluation(found, digits_run):
    (checkpoint,) = found['checkpoints']
    last = read_metrics(digits_run[0])[-1]
    assert checkpoint['step'] == last['step']
    assert checkpoint['evaluation']['eval/accuracy'] == last['eval/accuracy']
    assert checkpoint['newest']
    assert checkpoint['best']
    # Parameters and momentum, at least.
    assert checkpoint['bytes'] > 2 * 4 * 77_000


def test_every_array_is_there_with_its_shape_and_dtype(found):
    arrays = found['arrays']
    assert arrays['params/stem/conv/kernel'] == {'shape': [3, 3, 1, 16], 'dtype': 'float32'}
    assert arrays['step'] == {'shape': [], 'dtype': 'int32'}
    assert len([name for name in arrays if name.startswith('params/')]) == len(
        [name for name in arrays if '/trace/' in name]
    )


def test_starts_tell_versions_and_commit(found, digits_run):
    text = (digits_run[0] / 'environment.jsonl').read_text()
    assert found['starts'] == [json.loads(line) for line in text.splitlines()]


def test_the_newest_need_not_be_the_best(tmp_path):
    state = TrainState(np.int32(0), {}, {}, {'trace': np.zeros(1)})
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step, accuracy in ((1, 0.5), (2, 0.75), (3, 0.25), (4, None)):
            evaluation = None if accuracy is None else {'eval/accuracy': accuracy}
            checkpoints.save(step, state, {}, evaluation)
    listed = inspect.list_checkpoints(tmp_path)
    assert [(c['step'], c['best'], c['newest']) for c in listed] == [
        (2, True, False),
        (3, False, False),
        (4, False, True),
    ]
    assert listed[-1]['evaluation'] is None


def test_the_command_prints_a_run(digits_run, capsys):
    assert inspect.main([str(digits_run[0])]) == 0
    out = capsys.readouterr().out
    assert re.search(r'^  batch_size +40 +default 100$', out, re.MULTILINE)
    assert re.search(r'^  step 35 +\d\.\d MiB +accuracy 0\.\d{4}  newest, best$', out, re.MULTILINE)
    assert '\n77,754 parameters\n' in out
    assert re.search(r'^  optimizer 1/0/trace +77,754 +float32$', out, re.MULTILINE)
    assert re.search(r'^  optimizer 1/1/count +1 +int32$', out, re.MULTILINE)
    assert '8 cpu cpu' in out
    assert 'opt_state' not in out
    assert inspect.main([str(digits_run[0]), '--all']) == 0
    assert 'opt_state/1/0/trace/classifier/bias ' in capsys.readouterr().out


def test_the_command_prints_weights_by_block(weights, capsys):
    assert inspect.main([str(weights)]) == 0
    title, *rows = capsys.readouterr().out.split('\n\n')[1].splitlines()
    assert title == '983 parameters'
    assert [row.split()[0] for row in rows] == [
        'stem',
        'stage1/block1',
        'stage2/block1',
        'stage2/block2',
        'stage2/block3',
        'stage3/block1',
        'classifier',
    ]
    assert rows[1].split(None, 3) == ['stage1/block1', '80', 'float32', '2 of 3x3x2x2, 4 of 2']


def test_json_has_all(weights, capsys):
    assert inspect.main([str(weights), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == inspect.inspect(weights)
    assert found.keys() == {'folder', 'model', 'arrays'}
    assert found['arrays']['batch_stats/stem/norm/mean']['shape'] == [2]


def test_stacked_blocks_are_in_their_place():
    variables = stack_layers(zeros('ms_resnet20', blocks=(1, 3, 1), widths=(2, 3, 4)))
    arrays = {
        name: {'shape': leaf.shape, 'dtype': str(leaf.dtype)}
        for name, leaf in by_name(variables).items()
    }
    text = inspect.describe({'model': {'name': 'm', 'options': {'a': 1}}, 'arrays': arrays})
    blocks = re.findall(r'^  (stage\S+)', text, re.MULTILINE)
    assert blocks == ['stage1/block1', 'stage2/block1', 'stage2/repeated', 'stage3/block1']
    assert '2x3x3x3x3' in text


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('nothing', 'has no weights: model.json and'),
        ('model.json', 'is not JSON: '),
        ('variables/_METADATA', 'is damaged: '),
    ],
)
def test_what_is_no_run_or_damaged_is_refused(weights, tmp_path, name, message, capsys):
    copy = tmp_path / 'copy'
    if name != 'nothing':
        shutil.copytree(weights, copy)
        (copy / name).write_text('{"name"')
    assert inspect.main([str(copy)]) == 2
    error = capsys.readouterr().err
    assert re.match(f'error: {copy}(/model.json)? {message}', error)


def test_safetensors_have_the_same_arrays(weights, tmp_path):
    name, options = describe_weights(weights)
    save_safetensors(tmp_path / 'sent', load_weights(weights), name, options, {})
    sent = inspect.inspect(tmp_path / 'sent')
    assert sent['arrays'] == inspect.inspect(weights)['arrays']
