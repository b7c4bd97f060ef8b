import json
import re
import sys

import jax
import numpy as np
import pytest
from safetensors import safe_open

from snnjax.export.nir_simulation import simulate, to_inputs
from snnjax.tools import evaluate, export
from snnjax.train.metric_writer import read_metrics
from snnjax.weights.folder import load_weights, open_weights, save_weights
from tests.conftest import ROOT
from tests.weight_files import firing_variables

for package in ('flatbuffers', 'nir'):
    pytest.importorskip(package, reason="needs what is exported to: pip install 'snnjax[dev]'")

STATISTICS = ['--mean=4,5,6', '--std=7,8,9']


def run(weights, kind, out, *arguments):
    return export.main([f'--weights={weights}', f'--format={kind}', f'--out={out}', *arguments])


@pytest.fixture(scope='module')
def safetensors(digits_run, tmp_path_factory):
    path = tmp_path_factory.mktemp('export') / 'digits'
    assert run(digits_run[0], 'safetensors', path) == 0
    return path


@pytest.fixture(scope='module')
def pixels():
    return np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1)).astype(np.uint8)


@pytest.fixture(scope='module')
def logits(digits_run, pixels):
    """Of the digits' model, with the numbers of the data set written out."""
    model, variables = open_weights(digits_run[0])
    images = (pixels - np.float32(4.8834)) / np.float32(6.0211)
    return np.asarray(jax.jit(model.apply)(variables, images))


def test_a_folder_of_safetensors_is_evaluated_as_the_run_itself(safetensors, digits_run, capsys):
    arguments = [f'--weights={safetensors}', '--dataset=digits', '--batch_size=360']
    assert evaluate.main(arguments) == 0
    measured = read_metrics(digits_run[0])[-1]['eval/accuracy']
    assert f'accuracy: {measured:.4f}' in capsys.readouterr().out


def test_the_card_says_what_a_stranger_needs(safetensors, digits_run):
    card = json.loads((safetensors / 'model.json').read_text())
    last = read_metrics(digits_run[0])[-1]
    assert card['name'] == 'ms_resnet8'
    assert card['options'] == {'num_steps': 2, 'num_classes': 10, 'in_channels': 1}
    assert card['images'] == {'shape': [8, 8, 1], 'mean': [4.8834], 'std': [6.0211]}
    assert card['data'] == {'name': 'digits', 'split': 'official'}
    assert card['step'] == last['step']
    assert card['evaluation'] == {'last': last, 'best': last}
    assert card['packages'].keys() == {'snnjax', 'jax', 'flax', 'numpy'}
    assert card['licence'] is None
    # Those of the summary of this model, of one channel.
    assert card['parameters'] == 77_754
    path = safetensors / 'variables.safetensors'
    with safe_open(path, 'numpy') as file:
        assert json.loads(file.metadata()['model']) == card


def test_the_example_of_a_program_runs(digits_run, pixels, logits, tmp_path, monkeypatch, capsys):
    assert run(digits_run[0], 'stablehlo', tmp_path / 'cifar10.stablehlo') == 0
    out = capsys.readouterr().out
    assert re.search(r'batch of 1: logits .*\nbatch of 3: logits ', out)
    assert '(b, 8, 8, 1) uint8 -> logits (b, 10) float32' in out
    example = re.search(r'\n((?:  (?:from|program|logits).*\n)+)', export.__doc__)[1]
    monkeypatch.chdir(tmp_path)
    scope = {'pixels': pixels}
    exec(re.sub('^  ', '', example, flags=re.MULTILINE), scope)
    np.testing.assert_allclose(scope['logits'], logits, rtol=0, atol=1e-5)


def test_a_graph_has_the_logits_of_the_model(safetensors, pixels, logits, tmp_path, capsys):
    # What the images are is in model.json, with no data set at hand.
    assert run(safetensors, 'nir', tmp_path / 'digits.nir') == 0
    out = capsys.readouterr().out
    assert 'float64: 100.0000% of spikes and silences agree with the model' in out
    assert '2 time steps' in out
    graph = pytest.importorskip('nir').read(tmp_path / 'digits.nir')
    about = graph.metadata
    images = ((pixels - about['mean']) / about['std']).astype(np.float32)
    inputs = to_inputs(images, about['num_steps'])
    output = simulate(graph, inputs, dt=about['dt']).output
    np.testing.assert_allclose(output.mean(axis=1), logits, rtol=0, atol=1e-4)


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    """Folders of weights that nothing is known of but the model."""
    from snnjax import create_model

    path = tmp_path_factory.mktemp('foreign')
    for name, options in {'ann_resnet8': {}, 'ms_resnet20_dvs': {'num_steps': 2}}.items():
        options = options | {'blocks': (1,), 'widths': (4,), 'strides': (2,)}
        variables = firing_variables(create_model(name, **options), 8)
        save_weights(path / name, jax.tree.map(jax.numpy.asarray, variables), name, options)
    return path


def test_frames_are_taken_one_a_time_step(foreign, tmp_path, capsys):
    shape = ['--image_shape=3,8,8,2', '--mean=0,0', '--std=1,1', '--num_steps=3']
    assert run(foreign / 'ms_resnet20_dvs', 'nir', tmp_path / 'x.nir', *shape) == 0
    assert 'float64: 100.0000%' in capsys.readouterr().out
    graph = pytest.importorskip('nir').read(tmp_path / 'x.nir')
    assert graph.metadata['num_steps'] == 3
    assert graph.nodes['input'].input_type['input'].tolist() == [2, 8, 8]


def test_a_graph_for_other_software_is_compared_in_its_form(foreign, tmp_path, capsys):
    arguments = ['--image_shape=3,8,8,2', '--mean=0,0', '--std=1,1', '--for=snntorch']
    weights = foreign / 'ms_resnet20_dvs'
    assert run(weights, 'nir', tmp_path / 'x.nir', *arguments, '--num_steps=3') == 0
    assert 'float32: 100.0000%' in capsys.readouterr().out
    graph = pytest.importorskip('nir').read(tmp_path / 'x.nir')
    assert graph.metadata['dt'] == 1e-4
    assert graph.nodes['output'].output_type['output'].tolist() == [10, 1, 1]
    assert run(weights, 'nir', tmp_path / 'y.nir', *arguments, '--num_steps=3', '--dt=1') == 2
    assert 'snntorch has a fixed time step of 0.0001 s' in capsys.readouterr().err


def test_safetensors_need_no_data_set(foreign, tmp_path, capsys):
    assert run(foreign / 'ann_resnet8', 'safetensors', tmp_path / 'x') == 0
    assert 'model.json will not describe the images' in capsys.readouterr().out
    assert json.loads((tmp_path / 'x/model.json').read_text())['images'] is None
    before, after = load_weights(foreign / 'ann_resnet8'), load_weights(tmp_path / 'x')
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(
    ('name', 'kind', 'arguments', 'message'),
    [
        ('nowhere', 'nir', [], 'nowhere has no weights'),
        ('ann_resnet8', 'nir', [], 'names no data set: give --dataset'),
        ('ann_resnet8', 'nir', ['--image_shape=8,8,3'], 'go together'),
        ('ann_resnet8', 'nir', ['--image_shape=8,8,3', *STATISTICS], 'cannot be written to NIR'),
        ('ann_resnet8', 'stablehlo', ['--image_shape=8,8,1', *STATISTICS], 'mean (4.0, 5.0, 6.0)'),
        ('ann_resnet8', 'stablehlo', ['--image_shape=8,3', *STATISTICS], 'must be H,W,C'),
        ('ann_resnet8', 'stablehlo', ['--dataset=digits'], 'the model has in_channels=3'),
        ('ann_resnet8', 'safetensors', ['--dataset=cifar10', '--data_dir=no'], 'tools.prepare'),
        ('ann_resnet8', 'safetensors', ['--dataset=digit'], 'did you mean digits'),
        ('ann_resnet8', 'nir', ['--num_steps=0'], '--num_steps=0 must be at least 1'),
        ('ann_resnet8', 'nir', ['--dt=0'], '--dt=0.0 must be above 0'),
        ('ann_resnet8', 'stablehlo', ['--for=norse'], '--for=norse is for --format=nir'),
    ],
)
def test_what_cannot_be_exported_is_refused(
    foreign, name, kind, arguments, message, tmp_path, capsys
):
    assert run(foreign / name, kind, tmp_path / 'out', *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(safetensors, tmp_path, capsys):
    assert run(safetensors, 'safetensors', safetensors) == 2
    assert 'already exists' in capsys.readouterr().err


def test_a_graph_that_is_another_network_is_not_kept(safetensors, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        'snnjax.export.nir_simulation.simulate',
        lambda graph, inputs, dt: simulate(graph, -inputs, dt=dt),
    )
    assert run(safetensors, 'nir', tmp_path / 'x.nir') == 2
    assert 'the spikes of the graph differ from the model' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(digits_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'nir', None)
    assert run(digits_run[0], 'nir', tmp_path / 'out') == 2
    assert "pip install 'snnjax[nir]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_the_commands_as_the_module_has_them():
    page = (ROOT / 'docs/export.md').read_text()
    commands = re.findall(r'^  (python -m .*)$', export.__doc__, re.MULTILINE)
    assert len(commands) == 3
    assert [command for command in commands if command not in page] == []
