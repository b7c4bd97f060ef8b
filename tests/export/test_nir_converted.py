"""Converted networks as graphs of NIR: the same spikes, in float64."""

import numpy as np
import pytest

from snnjax.conversion import convert
from snnjax.export.nir_graph import to_graph
from snnjax.export.nir_simulation import equal_share, run_model, simulate, to_inputs
from tests.conversion import networks
from tests.conversion.networks import RESNET, SENGUPTA, VGG

nir = pytest.importorskip('nir', reason="needs NIR: pip install 'snnjax[nir]'")

STEPS = 7
VGG_MEAN = VGG | {'pooling': 'average'}
CASES = {
    'soft': ('relu_resnet8', RESNET, 'rueckauer', {}),
    'hard': ('relu_resnet8', RESNET, 'rueckauer', {'soft_reset': False, 'initial': 0.3}),
    'channels': ('relu_resnet8', RESNET, 'ltb', {'updates': 8}),
    'compensation': ('relu_resnet8', RESNET, 's_resnet', {'compensation': 1.1}),
    'drift': ('vgg16_cifar', VGG_MEAN, 'rts', {}),
    'neurons': ('vgg16_cifar', VGG_MEAN, 'calibration', {'level': 'advanced'}),
    'plain': ('sengupta_resnet20', SENGUPTA, 's_resnet', {'percentile': 80}),
}


def converted(case):
    name, options, method, of_method = CASES[case]
    ann = networks.make(name, **options)
    return convert(ann, method, networks.calibration(), num_steps=STEPS, **of_method)


@pytest.mark.parametrize('case', CASES)
def test_every_neuron_fires_as_in_the_model(case, tmp_path):
    found = converted(case)
    x = networks.images(2).astype(np.float64)
    path = tmp_path / 'graph.nir'
    nir.write(path, to_graph(found.model, found.variables, (8, 8), dt=1e-4, dtype=np.float64))
    graph = nir.read(path)
    assert graph.metadata['num_steps'] == STEPS
    simulated = simulate(graph, to_inputs(x, STEPS), dt=1e-4)
    logits, expected = run_model(found.model, found.variables, x)
    assert simulated.spikes.keys() == expected.keys()
    for name, fired in expected.items():
        assert 0 < fired.mean() < 1, name
    assert equal_share(simulated.spikes, expected) == 1
    output = simulated.output.mean(axis=1).reshape(logits.shape)
    np.testing.assert_allclose(output, logits, rtol=0, atol=1e-9)


def test_an_integrator_and_a_threshold_are_a_soft_reset():
    """A current of 0.6 of the threshold: floor(0.6 T) spikes, not T // 2."""
    ones = np.ones((1, 1, 1))
    graph = nir.NIRGraph(
        {
            'input': nir.Input({'input': np.array([1, 1, 1])}),
            'membrane': nir.I(ones),
            'spike': nir.Threshold(np.nextafter(ones, -np.inf)),
            'back': nir.Scale(-ones),
            'output': nir.Output({'output': np.array([1, 1, 1])}),
        },
        [
            ('input', 'membrane'),
            ('membrane', 'spike'),
            ('spike', 'back'),
            ('back', 'membrane'),
            ('spike', 'output'),
        ],
    )
    current = np.full((1, 40, 1, 1, 1), 0.625)
    found = simulate(graph, current, dt=1.0).output.ravel()
    np.testing.assert_array_equal(found.cumsum(), np.floor(0.625 * np.arange(1, 41)))


def test_what_a_graph_cannot_say_is_refused():
    pooled = networks.make('vgg16_cifar', **VGG, pooling='max')
    found = convert(pooled, 'rueckauer', networks.calibration(), num_steps=2)
    with pytest.raises(ValueError, match='pool1 pools by the number of spikes so far'):
        to_graph(found.model, found.variables, (8, 8))
    currents = networks.make('ann_resnet8', **RESNET)
    found = convert(currents, 's_resnet', networks.calibration(), num_steps=2)
    with pytest.raises(ValueError, match='add currents'):
        to_graph(found.model, found.variables, (8, 8))
    found = converted('soft')
    with pytest.raises(ValueError, match='leave out --for'):
        to_graph(found.model, found.variables, (8, 8), reader='norse')
    with pytest.raises(ValueError, match="random input coding 'poisson'"):
        to_graph(found.model.clone(coding='poisson'), found.variables, (8, 8))
    bounded = found.model.clone(neuron_options={**found.model.neuron_options, 'lowest': 0.0})
    with pytest.raises(ValueError, match='lower bound on the potential'):
        to_graph(bounded, found.variables, (8, 8))
    with pytest.raises(ValueError, match='rollout'):
        to_graph(found.model.clone(rollout=True), found.variables, (8, 8))
