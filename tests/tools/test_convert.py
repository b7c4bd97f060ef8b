"""The command that converts, on an ANN of 8x8 digits that was not trained."""

import json

import jax
import jax.numpy as jnp
import pytest

from snnjax import create_model
from snnjax.analysis.runs import read_table
from snnjax.conversion import few_spike_fitting
from snnjax.neurons.few_spikes import PUBLISHED_SWISH
from snnjax.tools import convert, energy, evaluate, export, fit_few_spikes
from snnjax.weights.folder import open_weights, save_weights

OPTIONS = {'in_channels': 1, 'blocks': [1], 'widths': [4], 'strides': [1]}
SMALL = ['--images=40', '--batch_size=40', '--calibration_images=40']


@pytest.fixture(scope='module')
def ann(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'ann'
    model = create_model('relu_resnet8', **OPTIONS)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    save_weights(path, variables, 'relu_resnet8', OPTIONS)
    return [f'--weights={path}', '--dataset=digits', *SMALL]


def test_what_is_written_is_a_network_like_any(ann, tmp_path, capsys):
    out, table, figure = (tmp_path / name for name in ('snn', 'curve.csv', 'curve.png'))
    arguments = [*ann, '--method=s_resnet', '--num_steps=8', f'--out={out}', f'--csv={table}']
    assert convert.main([*arguments, f'--figure={figure}', '--set', 'percentile=99']) == 0
    printed = capsys.readouterr().out
    assert 'ANN: accuracy' in printed
    assert 'stage1/block1/spike2' in printed
    assert figure.read_bytes().startswith(b'\x89PNG')
    rows = read_table(table)
    assert [int(row['num_steps']) for row in rows] == [1, 2, 4, 8]

    # The same network in one part.
    file = tmp_path / 'measured.json'
    assert evaluate.main([f'--weights={out}', f'--json={file}', *SMALL[:2]]) == 0
    measured = json.loads(file.read_text())
    assert measured['accuracy'] == pytest.approx(float(rows[-1]['accuracy']))
    assert measured['firing_rate'] == pytest.approx(float(rows[-1]['firing_rate']), abs=1e-5)
    assert energy.main([f'--weights={out}', f'--json={file}', *SMALL[:2]]) == 0
    measured = json.loads(file.read_text())
    syops = measured['energy_by_mean_rate']['syops']
    assert syops == pytest.approx(float(rows[-1]['syops']), rel=1e-5)
    joules = measured['energy_by_layer']['once']['snn_joules']
    assert joules == pytest.approx(float(rows[-1]['joules_by_layer']), rel=1e-5)

    about = json.loads((out / 'model.json').read_text())['conversion']
    assert about['method'] == 's_resnet'
    assert about['data']['name'] == 'digits'
    assert about['data'].keys() == {'name', 'dir', 'split'}
    assert about['options'] == {'percentile': 99, 'compensation': 1.0, 'initial': 0.5}
    model, _ = open_weights(out)
    assert (model.num_steps, model.neuron, model.soft_reset) == (8, 'integrate_and_fire', True)
    nir = [f'--weights={out}', '--format=nir', f'--out={tmp_path / "graph.nir"}']
    assert export.main(nir) == 0
    assert 'float64: 100.0000% of spikes' in capsys.readouterr().out


def test_few_spikes_are_counted(ann, tmp_path):
    out, file = tmp_path / 'snn', tmp_path / 'rows.json'
    assert convert.main([*ann, '--method=few_spikes', f'--out={out}', f'--json={file}']) == 0
    (row,) = json.loads(file.read_text())
    assert row['num_steps'] == 3 * 10
    assert row['spikes_per_neuron'] == pytest.approx(10 * row['firing_rate'])
    assert row['syops'] > 0
    description = json.loads((out / 'model.json').read_text())
    assert description['conversion']['time_steps'] == 30
    assert description['options']['num_steps'] == 10


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--method=rueckhauer'], 'did you mean rueckauer'),
        (['--method=rueckauer', '--num_steps=0'], '0 time steps'),
        (['--method=rueckauer', '--steps=4,0'], '0 time steps'),
        (['--method=rueckauer', '--steps=many'], '--steps=many must be integers'),
        (['--method=rueckauer', '--calibration_images=0'], 'images=0 must be at least 1'),
        (['--method=rueckauer', '--set', 'percentile'], 'write KEY=VALUE'),
        (['--method=spike_norm'], 'bias would weigh too'),
    ],
)
def test_wrong_arguments_are_refused(ann, arguments, message, tmp_path, capsys):
    assert convert.main([*ann, *arguments, f'--out={tmp_path / "out"}']) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_spiking_network_is_no_ann(digits_run, tmp_path, capsys):
    arguments = [f'--weights={digits_run[0]}', *SMALL, '--method=rueckauer']
    assert convert.main([*arguments, f'--out={tmp_path / "out"}']) == 2
    assert 'the network spikes already' in capsys.readouterr().err


def test_methods_are_listed(capsys):
    assert convert.main(['--methods']) == 0
    printed = capsys.readouterr().out
    assert 'rueckauer: Normalizes' in printed
    assert '--set percentile=99.9' in printed


def test_coefficients_are_fitted(tmp_path, capsys, monkeypatch):
    file = tmp_path / 'swish.json'
    arguments = ['--function=swish', '--starts=1', '--steps=3', '--refine_steps=0']
    with monkeypatch.context() as patch:
        patch.setattr(few_spike_fitting, 'fit_few_spikes', lambda *_: (PUBLISHED_SWISH, 0.5))
        assert fit_few_spikes.main([*arguments, f'--json={file}']) == 0
    assert 'paper: 0.003446' in capsys.readouterr().out
    assert len(json.loads(file.read_text())['weights']) == 16
    assert fit_few_spikes.main([*arguments, '--starts=0']) == 2
