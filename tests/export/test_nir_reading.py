"""Graphs of NIR come back as the networks that they were written from."""

import dataclasses

import h5py
import numpy as np
import pytest

from snnjax.export.nir_graph import SECONDS, to_graph
from snnjax.export.nir_reading import GraphError, read_graph, to_network
from snnjax.export.nir_simulation import run_model
from snnjax.tools import import_nir
from snnjax.weights.folder import open_weights
from tests.export.test_nir_graph import network

nir = pytest.importorskip('nir', reason="needs NIR: pip install 'snnjax[nir]'")


def renamed(graph, rng):
    """The same graph with nodes in another order, under names that say nothing."""
    names = list(graph.nodes)
    shuffled = rng.permutation(names).tolist()
    new = {name: f'n{i}' for i, name in enumerate(shuffled)}
    edges = [(new[a], new[b]) for a, b in graph.edges]
    rng.shuffle(edges)
    nodes = {new[name]: graph.nodes[name] for name in shuffled}
    return nir.NIRGraph(nodes, [tuple(edge) for edge in edges], metadata=graph.metadata)


@pytest.mark.parametrize(
    ('case', 'reader'),
    [
        *((case, '') for case in ('ms', 'vanilla', 'plain', 'at_threshold', 'pooling')),
        *((case, 'norse') for case in ('wo_lif', 'imagenet')),
    ],
)
def test_a_graph_is_read_as_its_network(case, reader):
    model, variables, images = network(case)
    graph = to_graph(model, variables, images.shape[1:3], dtype=np.float64, reader=reader)
    read = to_network(renamed(graph, np.random.default_rng(0)))
    assert read.model.kind == model.kind
    for option in ('blocks', 'widths', 'strides', 'stem', 'decay', 'threshold', 'reset', 'strict'):
        assert getattr(read.model, option) == getattr(model, option), option
    assert read.model.num_steps == model.num_steps
    images = images.astype(np.float64)
    logits, _ = run_model(read.model, read.variables, images)
    expected, _ = run_model(model, variables, images)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_other_software_may_scale_currents_and_fire_at_its_threshold(tmp_path):
    """Neurons of another resistance and threshold that fire the same spikes."""
    model, variables, images = network('ms')
    graph = to_graph(model, variables, images.shape[1:3], dt=SECONDS)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.LIF):
            scale = np.float32(3)
            threshold = np.full_like(node.v_threshold, 0.5) * scale
            graph.nodes[name] = nir.LIF(
                tau=node.tau, r=node.r * scale, v_leak=node.v_leak, v_threshold=threshold
            )
    del graph.metadata['num_steps'], graph.metadata['dt']
    with pytest.raises(GraphError, match='does not give num_steps: pass --num_steps'):
        to_network(graph)
    options = to_network(graph, num_steps=5, dt=SECONDS).options
    assert (options['num_steps'], options['threshold'], options['decay']) == (5, 0.5, 0.25)
    # It fires above 1.5 only.
    assert options['strict']


def test_the_command_writes_weights_that_compute_the_same(tmp_path, capsys):
    model, variables, images = network('vanilla')
    graph = to_graph(model, variables, images.shape[1:3])
    graph.metadata |= {'mean': np.full(3, 100.0), 'std': np.full(3, 50.0)}
    nir.write(tmp_path / 'x.nir', graph)
    assert import_nir.main([str(tmp_path / 'x.nir'), f'--out={tmp_path / "out"}']) == 0
    printed = capsys.readouterr().out
    assert 'vanilla_resnet8 with' in printed
    read, theirs = open_weights(tmp_path / 'out')
    images = images.astype(np.float64)
    expected, _ = run_model(model, variables, images)
    np.testing.assert_allclose(run_model(read, theirs, images)[0], expected, rtol=0, atol=1e-4)
    assert import_nir.main([str(tmp_path / 'x.nir'), f'--out={tmp_path / "out"}']) == 2
    assert 'already exists' in capsys.readouterr().err


def with_node(graph, name, node):
    return nir.NIRGraph(graph.nodes | {name: node}, graph.edges, metadata=graph.metadata)


def another_type(graph):
    node = graph.nodes['stage1_block1_spike1']
    values = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    kept = {key: values[key] for key in ('r', 'v_threshold', 'v_reset')}
    return with_node(graph, 'stage1_block1_spike1', nir.IF(**kept))


def another_threshold(graph):
    node = graph.nodes['stage1_block1_spike1']
    changed = dataclasses.replace(node, v_threshold=node.v_threshold * 2)
    return with_node(graph, 'stage1_block1_spike1', changed)


def another_order(graph):
    edges = [edge for edge in graph.edges if edge != ('stem', 'stage1_block1_conv2')]
    lost = [edge for edge in edges if edge[1] == 'stage2_block1_spike1'][:1]
    edges = [edge for edge in edges if edge not in lost]
    return nir.NIRGraph(graph.nodes, edges, metadata=graph.metadata)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (another_type, 'stage1_block1_spike1 is a node of type IF'),
        (another_threshold, 'the same in all layers, but .* and .* differ'),
        (another_order, 'order matches no network'),
    ],
)
def test_other_graphs_are_refused_by_name(change, reason):
    model, variables, images = network('ms')
    graph = to_graph(model, variables, images.shape[1:3])
    with pytest.raises(GraphError, match=reason):
        to_network(change(graph))


def test_files_are_checked_before_they_are_read(tmp_path):
    path = tmp_path / 'x.nir'
    path.write_bytes(b'no graph')
    with pytest.raises(GraphError, match=r'x\.nir cannot be read as a graph of NIR'):
        read_graph(path)
    with h5py.File(path, 'w') as file:
        file.create_dataset('node/nodes/x/weight', (2**20, 2**20), 'f4', chunks=True)
    with pytest.raises(GraphError, match=r'x\.nir should have 4,398,046,511,104 bytes of arrays'):
        read_graph(path)
    with h5py.File(path, 'w') as file:
        file['node'] = h5py.ExternalLink('/etc/passwd', '/')
    with pytest.raises(GraphError, match=r'x\.nir has links to other places'):
        read_graph(path)
    with pytest.raises(FileNotFoundError):
        read_graph(tmp_path / 'none.nir')
