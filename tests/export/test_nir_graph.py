import functools

import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.export.nir_graph import to_graph
from snnjax.export.nir_simulation import equal_share, run_model, simulate, to_inputs
from snnjax.neurons import lif
from tests.weight_files import firing_variables

nir = pytest.importorskip('nir', reason="needs NIR: pip install 'snnjax[nir]'")

NARROW = {'num_classes': 5, 'num_steps': 3, 'widths': (4, 5, 6)}
IMAGENET = NARROW | {'widths': (4, 5, 6, 7), 'blocks': (1, 2, 1, 1), 'strides': (1, 2, 2, 2)}
CASES = {
    'ms': ('ms_resnet8', 8, NARROW),
    'vanilla': ('vanilla_resnet8', 8, NARROW),
    'plain': ('plain_net8', 8, NARROW),
    'wo_lif': ('wo_lif_resnet8', 8, NARROW),
    # Its shortcuts average spikes, so that neurons often are at their threshold exactly.
    'at_threshold': ('lif_before_add_resnet8_dvs', 16, NARROW),
    'imagenet': ('ms_resnet18', 32, IMAGENET),
    'pooling': ('ms_resnet104', 32, IMAGENET),
    'options': (
        'ms_resnet8',
        8,
        NARROW
        | {
            'spiking_shortcut': True,
            'learnable_decay': True,
            'learnable_threshold': True,
            'strict': True,
            'runtime_scale': True,
        },
    ),
}


@functools.cache
def network(case):
    """A model, its variables, and two images."""
    name, size, options = CASES[case]
    model = create_model(name, **options)
    images = np.random.default_rng(1).normal(size=(2, size, size, model.in_channels))
    return model, firing_variables(model, size), images.astype(np.float32)


def graph_of(case, path, dtype):
    """The graph of a network as it is read from a file."""
    model, variables, images = network(case)
    nir.write(path, to_graph(model, variables, images.shape[1:3], dtype=dtype))
    return nir.read(path)


def loop(graph, inputs, dt):
    """A simulator that has nothing of the package's.

    Args:
      graph: of NIR.
      inputs: (B, T, C, H, W).
      dt: of a time step.

    Returns:
      The output (B, T, classes), and spikes by node, bool.
    """
    dtype = inputs.dtype
    state, outputs, spikes = {}, [], {}

    def cast(array):
        return np.asarray(array, dtype)

    def convolve(node, x):
        (pad, _), (stride, _) = node.padding, node.stride
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        kernel = node.weight.shape[2]
        height, width = ((length - kernel) // stride + 1 for length in x.shape[2:])
        total = cast(0)
        for i, j in np.ndindex(kernel, kernel):
            part = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            total = total + np.einsum('bchw,oc->bohw', part, cast(node.weight[:, :, i, j]))
        return total + cast(node.bias)[:, None, None]

    def fire(name, node, current):
        v = state.get(name, cast(np.zeros(node.tau.shape)))
        change = cast(dt) / cast(node.tau)
        v = v + change * (cast(node.v_leak) - v + cast(node.r) * current)
        fired = v > cast(node.v_threshold)
        state[name] = np.where(fired, cast(node.v_reset), v)
        spikes.setdefault(name, []).append(fired)
        return fired.astype(dtype)

    def pool(node, x):
        size, _ = node.kernel_size
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, height // size, size, width // size, size)
        return x.mean(axis=(3, 5))

    def evaluate(name, values, image):
        if name in values:
            return values[name]
        incoming = [
            evaluate(source, values, image) for source, target in graph.edges if target == name
        ]
        node, x = graph.nodes[name], sum(incoming) if incoming else image
        if isinstance(node, nir.Conv2d):
            x = convolve(node, x)
        elif isinstance(node, nir.LIF):
            x = fire(name, node, x)
        elif isinstance(node, nir.AvgPool2d):
            x = pool(node, x)
        elif isinstance(node, nir.Flatten):
            x = x.reshape(len(x), -1)
        elif isinstance(node, nir.Affine):
            x = x @ cast(node.weight).T + cast(node.bias)
        else:
            assert isinstance(node, nir.Input | nir.Output)
        values[name] = x
        return x

    for image in np.moveaxis(inputs, 1, 0):
        outputs.append(evaluate('output', {}, image))
    return np.stack(outputs, 1), {name: np.stack(steps, 1) for name, steps in spikes.items()}


@pytest.mark.parametrize('case', CASES)
def test_every_neuron_fires_as_in_the_model(case, tmp_path):
    model, variables, images = network(case)
    graph = graph_of(case, tmp_path / 'graph.nir', np.float64)
    assert graph.metadata['num_steps'] == 3
    inputs = to_inputs(images.astype(np.float64), 3)
    output, spikes = loop(graph, inputs, graph.metadata['dt'])
    logits, expected = run_model(model, variables, images.astype(np.float64))
    assert spikes.keys() == expected.keys()
    for name, fired in expected.items():
        np.testing.assert_array_equal(spikes[name], fired, err_msg=name)
        assert 0 < fired.mean() < 1, name
    np.testing.assert_allclose(output.mean(axis=1), logits, rtol=0, atol=1e-13)
    simulated = simulate(graph, inputs, dt=graph.metadata['dt'])
    assert equal_share(simulated.spikes, expected) == 1
    np.testing.assert_allclose(simulated.output, output, rtol=0, atol=1e-13)


@pytest.mark.parametrize('case', ['ms', 'at_threshold'])
def test_float32_is_enough(case, tmp_path):
    model, variables, images = network(case)
    graph = graph_of(case, tmp_path / 'graph.nir', np.float32)
    assert {node.weight.dtype for node in graph.nodes.values() if hasattr(node, 'weight')} == {
        np.dtype('float32')
    }
    output, spikes = loop(graph, to_inputs(images, 3), graph.metadata['dt'])
    logits, expected = run_model(model, variables, images)
    # All of them, where this was written; sums may be taken in another order elsewhere.
    assert equal_share(spikes, expected) > 0.99
    np.testing.assert_allclose(output.mean(axis=1), logits, rtol=0, atol=0.05)


def neurons(**options):
    """The graph of the first neurons of a network, and no more."""
    model = create_model('ms_resnet8', **NARROW, **options)
    graph = to_graph(model, firing_variables(model, 4), (4, 4))
    node = graph.nodes['stage1_block1_spike1']
    return nir.NIRGraph.from_list(node), node


@pytest.mark.parametrize('decay', [0.0, 0.25, 0.9])
@pytest.mark.parametrize('strict', [False, True])
def test_neurons_are_those_of_the_package(decay, strict):
    graph, node = neurons(decay=decay, strict=strict)
    # Multiples of a half put many potentials at the threshold.
    rng = np.random.default_rng(0)
    current = rng.integers(-2, 3, (2, 6, *node.tau.shape)).astype(np.float32) / 2
    current[1] += rng.normal(size=current[1].shape)
    expected = lif(jnp.asarray(current), decay=decay, strict=strict)
    (spikes,) = simulate(graph, current, dt=1.0).spikes.values()
    np.testing.assert_array_equal(spikes, np.asarray(expected) > 0)


def test_a_neuron_at_its_threshold_fires_unless_it_is_strict():
    at_threshold = np.full((1, 1, 4, 4, 4), 0.5, np.float32)
    for strict in (False, True):
        graph, _ = neurons(strict=strict)
        (spikes,) = simulate(graph, at_threshold, dt=1.0).spikes.values()
        assert spikes.all() == (not strict)


def test_another_length_of_time_steps_is_the_same_network():
    model, variables, images = network('ms')
    graph = to_graph(model, variables, (8, 8), dt=1e-4, dtype=np.float64)
    simulated = simulate(graph, to_inputs(images.astype(np.float64), 3), dt=1e-4)
    _, expected = run_model(model, variables, images.astype(np.float64))
    assert graph.nodes['spike'].tau.max() == pytest.approx(4 / 3 * 1e-4)
    assert equal_share(simulated.spikes, expected) == 1


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('ann_resnet8', {}, "the block of kind 'ann' cannot be written to NIR"),
        ('relu_resnet8', {}, 'an activation instead of a neuron cannot be written'),
        ('vanilla_resnet8', {'pad_shortcut': True}, 'a padded shortcut cannot be written'),
        ('tdbn_resnet8', {'bottleneck': True}, 'a bottleneck cannot be written'),
        ('ms_resnet8', {'hidden': (8,)}, 'a hidden layer cannot be written'),
        ('ms_resnet8', {'decay': 1.0}, 'neurons of decay 1.0 cannot be written'),
        ('ms_resnet8', {'soft_reset': True}, 'soft_reset=True cannot be written'),
        ('ms_resnet8', {'neuron': 'adaptive_lif'}, "neuron 'adaptive_lif' .*NIR_NEURONS"),
        ('plif_nmnist', {}, 'only residual networks'),
    ],
)
def test_what_nir_cannot_say_is_refused(name, options, message):
    narrow = {} if name == 'plif_nmnist' else NARROW
    model = create_model(name, **narrow, **options)
    variables = {} if name == 'plif_nmnist' else firing_variables(model, 8)
    with pytest.raises(ValueError, match=message):
        to_graph(model, variables, (8, 8))


def test_graphs_that_cannot_be_simulated_are_refused():
    unknown = nir.NIRGraph.from_list(nir.Delay(np.ones(3)))
    with pytest.raises(ValueError, match="node 'delay' of the graph"):
        simulate(unknown, np.zeros((1, 1, 3)), dt=1.0)
    graph = nir.NIRGraph.from_list(nir.Affine(np.eye(3), np.zeros(3)))
    graph.edges.append(('affine', 'affine'))
    with pytest.raises(ValueError, match='cycle'):
        simulate(graph, np.zeros((1, 1, 3)), dt=1.0)
