"""Graphs of NIR in the software that they are written for, where it is installed."""

import contextlib
import copy
import functools
import io
import warnings

import numpy as np
import pytest

from snnjax.export.nir_graph import SECONDS, to_graph
from snnjax.export.nir_simulation import run_model, simulate, to_inputs
from tests.export.test_nir_graph import network

nir = pytest.importorskip('nir', reason="needs NIR: pip install 'snnjax[nir]'")


def read_norse(graph, dt):
    """Its neurons in the executor of nirtorch: its own runs nodes in an order of its own."""
    import nirtorch
    import torch
    from norse.torch import LIFBoxCell, LIFBoxParameters

    def convolution(node):
        layer = torch.nn.Conv2d(
            node.weight.shape[1],
            node.weight.shape[0],
            node.weight.shape[2:],
            node.stride,
            node.padding,
        )
        layer.weight.data, layer.bias.data = map(torch.tensor, (node.weight, node.bias))
        return layer

    def neurons(node):
        tau, threshold = torch.tensor(node.tau), torch.tensor(node.v_threshold)
        return LIFBoxCell(LIFBoxParameters(tau_mem_inv=1 / tau, v_th=threshold), dt=dt)

    def pool(node):
        return torch.nn.AvgPool2d(tuple(map(int, node.kernel_size)))

    return nirtorch.nir_to_torch(
        graph, {nir.Conv2d: convolution, nir.LIF: neurons, nir.AvgPool2d: pool}
    )


def read_snntorch(graph, dt):
    del dt
    from snntorch.import_nir import import_from_nir

    with contextlib.redirect_stdout(io.StringIO()):
        return import_from_nir(graph)


def read_spikingjelly(graph, dt):
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(graph, dt=dt)


READ = {'norse': read_norse, 'snntorch': read_snntorch, 'spikingjelly': read_spikingjelly}


@functools.cache
def expected(case):
    return run_model(*network(case))[0]


def run(read, graph, inputs):
    """The mean output of a graph in other software, (B, classes)."""
    import torch

    state, outputs = None, []
    # Of the packages; nothing of it is ours.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = read(copy.deepcopy(graph), graph.metadata['dt'])
        for t in range(inputs.shape[1]):
            output, state = model(torch.tensor(inputs[:, t]), state)
            outputs.append(output.detach().numpy())
    return np.mean(outputs, axis=0).reshape(len(inputs), -1)


@pytest.mark.parametrize('case', ['ms', 'vanilla', 'plain', 'wo_lif', 'imagenet', 'pooling'])
@pytest.mark.parametrize('reader', READ)
def test_other_software_computes_the_logits_of_the_model(reader, case, tmp_path):
    for package in ('torch', 'nirtorch', reader):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            pytest.importorskip(package, reason=f'needs {package}')
    model, variables, images = network(case)
    graph = to_graph(model, variables, images.shape[1:3], reader=reader, dt=SECONDS)
    nir.write(tmp_path / 'x.nir', graph)
    inputs = np.ascontiguousarray(to_inputs(images, model.num_steps))
    output = run(READ[reader], nir.read(tmp_path / 'x.nir'), inputs)
    np.testing.assert_allclose(output, expected(case), rtol=0, atol=1e-5)


@pytest.mark.parametrize('case', ['ms', 'pooling', 'options'])
@pytest.mark.parametrize('reader', READ)
def test_a_graph_for_other_software_is_the_same_network(reader, case, tmp_path):
    model, variables, images = network(case)
    graph = to_graph(model, variables, images.shape[1:3], reader=reader, dt=SECONDS)
    nir.write(tmp_path / 'x.nir', graph)
    graph = nir.read(tmp_path / 'x.nir')
    output = simulate(graph, to_inputs(images, model.num_steps), dt=graph.metadata['dt']).output
    mean = output.mean(axis=1).reshape(len(images), -1)
    np.testing.assert_allclose(mean, expected(case), rtol=0, atol=1e-5)
    kinds = {type(node).__name__ for node in graph.nodes.values()}
    assert ('Affine' in kinds) == (reader == 'spikingjelly')
    if reader == 'norse':
        neurons = [node for node in graph.nodes.values() if isinstance(node, nir.LIF)]
        assert all((node.r == 1).all() for node in neurons)


def test_readers_that_are_not_known_or_have_another_step_are_refused():
    model, variables, _ = network('ms')
    with pytest.raises(ValueError, match='did you mean norse'):
        to_graph(model, variables, (8, 8), reader='nors', dt=SECONDS)
    with pytest.raises(ValueError, match=r'has a fixed time step of 0\.0001 s, not dt=1'):
        to_graph(model, variables, (8, 8), reader='snntorch', dt=1)
