import re

import jax
import jax.numpy as jnp
import pytest

from snnjax import create_model
from snnjax.analysis.runs import read_table, summarize_run, write_table
from snnjax.tools import compare
from snnjax.weights.folder import save_weights


@pytest.fixture(scope='module')
def sweep_dir(digits_run, tmp_path_factory):
    """The work directory of a sweep of one network, twice, and another."""
    path = tmp_path_factory.mktemp('sweep')
    names = ('ms_seed0', 'ms_seed1', 'other_seed0')
    for name in names:
        (path / name).symlink_to(digits_run[0])
    write_table(path / 'results.csv', [{'run': n, **summarize_run(path / n)} for n in names])
    return path


def test_networks_are_measured_beside_each_other(sweep_dir, tmp_path, capsys):
    csv, figure = tmp_path / 'compare.csv', tmp_path / 'compare.png'
    arguments = [str(sweep_dir), '--images=90', '--rounds=2', f'--csv={csv}', f'--figure={figure}']
    assert compare.main(arguments) == 0
    lines = re.sub(' +', ' ', capsys.readouterr().out).splitlines()
    rows = read_table(csv)
    assert [row['run'] for row in rows] == ['ms_seed0', 'ms_seed1', 'other_seed0']
    for row in rows:
        assert (row['model'], row['images'], row['num_steps']) == ('ms_resnet8', 90, 2)
        assert 0 < row['firing_rate'] < 1
        # The residual path of 8x8 pixels, a sixteenth of 11,796,480 operations.
        assert row['syops'] == pytest.approx(11_796_480 / 16 * row['firing_rate'] * 2)
        assert row['step_seconds'] > 0
        assert row['step_bytes'] > 0
    accuracy = 100 * rows[0]['accuracy']
    assert (
        f'| ms | `ms_resnet8` | {rows[0]["parameters"]:,} | 2 | {accuracy:.1f} ± 0.0 |' in lines[2]
    )
    assert f'| other | `ms_resnet8` | {rows[0]["parameters"]:,} | 2 | {accuracy:.1f} |' in lines[3]
    assert 'on 8 cpu device' in lines[4]
    assert figure.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{tmp}'], 'has no finished run'),
        (['{tmp}', '--rounds=0'], '--rounds=0 must be at least 1'),
        (['{sweep}', '--images=-1'], '--images=-1 must be between 0 (all images) and 360'),
        (['{sweep}', '--checkpoint=7'], 'there are newest, best, 35'),
        (['{sweep}', '--dataset=cifar10', '--data_dir=nowhere'], 'not prepared in nowhere'),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments, message, sweep_dir, tmp_path, monkeypatch, capsys
):
    measure = 'snnjax.analysis.comparison.measure_steps'
    monkeypatch.setattr(measure, lambda *_: pytest.fail('measured'))
    folders = {'tmp': tmp_path, 'sweep': sweep_dir}
    assert compare.main([text.format(**folders) for text in arguments]) == 2
    assert message in capsys.readouterr().err


ANN = {'in_channels': 1, 'blocks': [1], 'widths': [4], 'strides': [1]}
CONFIG = """
def get_runs():
    return {'ms_seed0': 'a', 'ann_seed0': 'b'}


def get_conversions():
    shared = {'run': 'ann_seed0', 'num_steps': 4}
    return {
        'hu_seed0': {**shared, 'method': 's_resnet', 'options': {'percentile': 99}},
        'few_seed0': {**shared, 'method': 'few_spikes', 'options': {}},
    }
"""


def test_converted_networks_stand_beside_trained_ones(digits_run, tmp_path, capsys):
    """What is trained or converted already is not made again."""
    work, csv = tmp_path / 'work', tmp_path / 'rows.csv'
    work.mkdir()
    (work / 'ms_seed0').symlink_to(digits_run[0])
    model = create_model('relu_resnet8', **ANN)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    save_weights(work / 'ann_seed0', variables, 'relu_resnet8', ANN)
    row = summarize_run(work / 'ms_seed0') | {'depth': ''}
    runs = {'ms_seed0': 'a', 'ann_seed0': 'b'}
    write_table(work / 'results.csv', [{'run': n, 'arguments': a, **row} for n, a in runs.items()])
    config = tmp_path / 'config.py'
    config.write_text(CONFIG)
    shared = [str(work), '--images=40', '--dataset=digits']
    assert compare.main([*shared, f'--config={config}', f'--csv={csv}']) == 0
    *_, trained, hu, few = re.sub(' +', ' ', capsys.readouterr().out).strip().splitlines()
    assert trained.startswith('| ms | `ms_resnet8` | trained | 2 |')
    assert hu.startswith('| hu | `relu_resnet8` | s_resnet | 4 | ')
    assert few.startswith('| few | `relu_resnet8` | few_spikes | 30 | ')
    assert hu.count('|') == trained.count('|')
    rows = {row['run']: row for row in read_table(csv)}
    assert rows.keys() == {'ms_seed0', 'hu_seed0', 'few_seed0'}
    # Measured from the folders, they are the same.
    folders = [str(work / name) for name in ('hu_seed0', 'few_seed0')]
    assert compare.main([*shared, '--converted', *folders, f'--csv={csv}']) == 0
    for row in read_table(csv):
        for key in ('accuracy', 'parameters', 'num_steps'):
            assert row[key] == rows[row['run']][key]
        for key in ('spikes_per_neuron', 'syops', 'snn_joules', 'joules_by_layer'):
            assert (row[key] or 0) == pytest.approx(rows[row['run']][key] or 0, rel=1e-5)
    assert compare.main([*shared, '--converted', str(work / 'ann_seed0')]) == 2
    assert 'holds no converted network' in capsys.readouterr().err
