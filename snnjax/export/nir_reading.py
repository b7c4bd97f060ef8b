"""Networks from graphs of NIR, written by this package or by other software.

A graph is accepted as a network if `to_graph` writes that network as the same graph; node names do
not matter. The candidates follow from the longest path, which leads through the stem and all
residual paths: its convolutions give the blocks, their widths and their strides. The graph of each
candidate, one for each possible order of layers within a block, is written and compared.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import graphlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.errors import UserError
from snnjax.export.nir_graph import node_name, to_graph
from snnjax.models import create_model
from snnjax.models.network import Network
from snnjax.models.params import by_name, nested

if TYPE_CHECKING:
    import nir

FAMILIES = ('ms_resnet', 'vanilla_resnet', 'plain_net', 'wo_lif_resnet', 'lif_before_add_resnet')
"""Families of networks that are tried, the likeliest first."""

_MOST_NODES = 100_000
# A file of constant arrays can be this many times smaller than its arrays.
_MOST_COMPRESSED = 1000
_ALWAYS_READ = 2**26


class GraphError(UserError, ValueError):
    """A graph that matches no network of this package; the message gives the reason."""


@dataclasses.dataclass(frozen=True)
class ReadNetwork:
    """A network read from a graph.

    Attributes:
      name: the name of the model.
      options: the options of `snnjax.create_model`, JSON-compatible.
      variables: the variables ``{'params': ..., 'batch_stats': ...}``, float32 arrays.
      image_size: the size (H, W) of the images.
    """

    name: str
    options: dict[str, Any]
    variables: dict[str, Any]
    image_size: tuple[int, int]

    @property
    def model(self) -> Network:
        """The network, unrolled."""
        return create_model(self.name, **self.options).unrolled()


def read_graph(path: Path) -> nir.NIRGraph:
    """Reads a graph from a file after checking the sizes of its arrays.

    Raises:
      GraphError: if the file is damaged or too large; the message names the file.
      ImportError: if the package ``nir`` is not installed.
      OSError: if the file cannot be read.
    """
    import h5py
    import nir

    path.stat()
    try:
        with h5py.File(path) as file:
            _check_sizes(file, path.stat().st_size)
        return nir.read(path)
    except GraphError as error:
        raise GraphError(f'{path} {error}') from None
    # h5py and nir raise errors of many types for damaged files.
    except Exception as error:
        reason = str(error).partition('\n')[0][:200]
        raise GraphError(f'{path} cannot be read as a graph of NIR: {reason}') from error


def _check_sizes(file: Any, on_disk: int) -> None:
    """Raises GraphError for links, and for arrays that are far larger than their file."""
    import h5py

    size, waiting, seen = 0, [file], 0
    while waiting:
        group = waiting.pop()
        for name in group:
            seen += 1
            if not isinstance(group.get(name, getlink=True), h5py.HardLink) or seen > _MOST_NODES:
                raise GraphError('has links to other places, or more entries than a network has')
            entry = group[name]
            if isinstance(entry, h5py.Group):
                waiting.append(entry)
            else:
                if entry.external or entry.is_virtual:
                    raise GraphError('has arrays in other files')
                size += entry.size * entry.dtype.itemsize
    if size > max(_ALWAYS_READ, _MOST_COMPRESSED * on_disk):
        raise GraphError(f'should have {size:,} bytes of arrays in {on_disk:,} bytes')


def to_network(graph: nir.NIRGraph, *, num_steps: int = 0, dt: float = 0.0) -> ReadNetwork:
    """Finds the network that matches a graph, and its variables.

    Args:
      graph: the graph, with one input and one output.
      num_steps: the number of time steps T, or 0 to take it from the graph's metadata.
      dt: the length of a time step in the unit of ``tau``, or 0 to take it from the metadata.

    Raises:
      GraphError: if no network matches the graph; the message names the node if one is to blame.
    """
    num_steps = int(num_steps or _of_metadata(graph, 'num_steps', '--num_steps'))
    dt = float(dt or _of_metadata(graph, 'dt', '--dt'))
    if num_steps < 1 or not 0 < dt < np.inf:
        raise GraphError(f'num_steps={num_steps} and dt={dt} must be above 0')
    given = _Nodes(graph)
    options = {'num_steps': num_steps, **_neurons(given, dt)}
    # Readers differ in the form of the head, and in the size of spikes, which does not matter here.
    reader = '' if given.of_type('Affine') else 'norse'
    for name, structure in _candidates(given):
        try:
            model = create_model(name, **structure, **options).unrolled()
            probe = _probe(model, given.image_shape)
            reference = to_graph(model, probe, given.image_shape[:2], dt=dt, reader=reader)
        except ValueError:
            continue
        if (places := _match(_Nodes(reference), given)) is not None:
            variables = _variables(model, probe, reference, given, places)
            return ReadNetwork(name, structure | options, variables, given.image_shape[:2])
    raise GraphError(
        'the nodes of the graph fit, but their order matches no network that can be read: '
        f'{", ".join(FAMILIES)}'
    )


def _of_metadata(graph: nir.NIRGraph, key: str, flag: str) -> Any:
    value = (graph.metadata or {}).get(key)
    if value is None:
        raise GraphError(f'the graph does not give {key}: pass {flag}')
    return value


class _Nodes:
    """The nodes of a graph and the edges between them.

    Args:
      graph: the graph, with one input and one output.

    Attributes:
      nodes: the nodes by name.
      sources: the names of the nodes with an edge to each node.
      order: the names in topological order, sources first.
      start: the name of the input.
      end: the name of the output.
      image_shape: the shape (H, W, C) of an image.

    Raises:
      GraphError: if a node has a type that no network here has, or if there is a cycle.
    """

    def __init__(self, graph: nir.NIRGraph) -> None:
        self.nodes: Mapping[str, Any] = graph.nodes
        known = ('Input', 'Output', 'Conv2d', 'LIF', 'AvgPool2d', 'Flatten', 'Affine')
        for name, node in self.nodes.items():
            if type(node).__name__ not in known:
                raise GraphError(
                    f'{name} is a node of type {type(node).__name__}; networks here only have '
                    f'{", ".join(known)}'
                )
        self.sources: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in graph.edges:
            if source not in self.nodes or target not in self.nodes:
                raise GraphError(f'the edge from {source} to {target} needs nodes at both ends')
            self.sources[target].append(source)
        try:
            self.order = list(graphlib.TopologicalSorter(self.sources).static_order())
        except graphlib.CycleError as error:
            raise GraphError(f'{error.args[1][0]} is part of a cycle') from error
        starts, ends = self.of_type('Input'), self.of_type('Output')
        if len(starts) != 1 or len(ends) != 1:
            raise GraphError('the graph must have one input and one output')
        (self.start,), (self.end,) = starts, ends
        shape = [int(n) for n in np.ravel(self.nodes[self.start].input_type['input'])]
        if len(shape) != 3:
            raise GraphError(f'{self.start} has the shape {tuple(shape)}, expected (C, H, W)')
        self.image_shape = (shape[1], shape[2], shape[0])

    def of_type(self, kind: str) -> list[str]:
        """Returns the names of the nodes of a type."""
        return [name for name in self.nodes if type(self.nodes[name]).__name__ == kind]

    def longest_path(self) -> list[str]:
        """Returns the path from the input to the output that has the most convolutions."""
        length: dict[str, int] = {}
        before: dict[str, str] = {}
        for name in self.order:
            own = type(self.nodes[name]).__name__ == 'Conv2d'
            best = max(self.sources[name], key=lambda s: length.get(s, -1), default='')
            before[name] = best
            length[name] = own + (length[best] if best else 0)
        path = [self.end]
        while before[path[-1]]:
            path.append(before[path[-1]])
        return path[::-1]


def _neurons(given: _Nodes, dt: float) -> dict[str, Any]:
    """Returns the options of the neurons, which all neurons of a graph must share."""
    found: dict[tuple[Any, ...], str] = {}
    for name in given.of_type('LIF'):
        node = given.nodes[name]
        arrays = [np.ravel(getattr(node, key)) for key in ('tau', 'r', 'v_threshold', 'v_reset')]
        leak = np.ravel(node.v_leak)
        if any(array.size == 0 or np.ptp(array) for array in arrays) or np.any(leak):
            raise GraphError(f'{name}: its neurons differ, or leak to another potential than 0')
        tau, r, threshold, reset = (array[0] for array in arrays)
        decay = 1 - dt / float(tau)
        gain = (1 - decay) * float(r)
        if not (0 <= decay < 1 and gain > 0):
            raise GraphError(f'{name}: tau={tau} and r={r} give no leak that networks here have')
        # NIR neurons fire above the threshold only; ours fire at the threshold, too, unless strict.
        above = float(threshold) / gain
        at = float(np.nextafter(threshold, np.asarray(np.inf, threshold.dtype))) / gain
        strict = abs(_short(above) - above) < abs(_short(at) - at)
        values = (_short(decay), _short(above if strict else at), _short(float(reset) / gain))
        found.setdefault((*values, strict), name)
    if len(found) != 1:
        raise GraphError(
            'the neurons of a network here are the same in all layers'
            + (f', but {" and ".join(found.values())} differ' if found else ': there are none')
        )
    ((decay, threshold, reset, strict),) = found
    return {'decay': decay, 'threshold': threshold, 'reset': reset, 'strict': strict}


def _short(value: float) -> float:
    """Returns a number as it was before rounding to float32."""
    return float(f'{value:.6g}')


def _candidates(given: _Nodes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the names and options of networks with the same longest path as a graph."""
    path = [given.nodes[name] for name in given.longest_path()]
    beside = collections.Counter(type(node).__name__ for node in given.nodes.values())
    beside.subtract(type(node).__name__ for node in path)
    convolutions = [node for node in path if type(node).__name__ == 'Conv2d']
    classifier = [node for node in path if type(node).__name__ == 'Affine']
    if classifier:
        num_classes = int(classifier[-1].weight.shape[0])
    elif convolutions:
        num_classes = int(convolutions.pop().weight.shape[0])
    for of_stem in (1, 3):
        stem, rest = convolutions[:of_stem], convolutions[of_stem:]
        if not rest or len(rest) % 2:
            continue
        sizes = {int(node.weight.shape[-1]) for node in stem}
        form = {
            'stem': 'conv3x3x3' if of_stem == 3 else f'conv{sizes.pop()}',
            'stem_stride': _pair(stem[0].stride)[0],
            'num_classes': num_classes,
            'in_channels': given.image_shape[-1],
            **_stages(rest),
        }
        # Apart from the head, only shortcuts have average pooling, and nodes off the longest path.
        pools = len(given.of_type('AvgPool2d')) > len(classifier)
        averages = (True, False) if pools else (False,)
        firsts = (False, True) if beside['Conv2d'] else (False,)
        neurons = (False, True) if beside['LIF'] else (False,)
        shortcuts = itertools.product(averages, (True, False), neurons, firsts)
        for (average, project, spiking, first), family in itertools.product(shortcuts, FAMILIES):
            named = {
                'avgpool_shortcut': average,
                'project_shortcut': project,
                'spiking_shortcut': spiking,
                'project_first': first,
            }
            yield f'{family}8', form | named


def _stages(convolutions: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    """Returns the blocks, widths and strides given by pairs of convolutions."""
    blocks: list[int] = []
    widths: list[int] = []
    strides: list[int] = []
    for first, last in zip(convolutions[::2], convolutions[1::2], strict=True):
        width, stride = int(last.weight.shape[0]), _pair(first.stride)[0]
        if widths and width == widths[-1] and stride == 1:
            blocks[-1] += 1
        else:
            blocks.append(1)
            widths.append(width)
            strides.append(stride)
    return {'blocks': tuple(blocks), 'widths': tuple(widths), 'strides': tuple(strides)}


def _pair(value: Any) -> tuple[int, ...]:
    numbers = [int(number) for number in np.ravel(value)]
    return tuple(numbers * 2 if len(numbers) == 1 else numbers)


def _probe(model: Network, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Returns variables that reduce the weights of a graph to the factors of normalization."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    ones = ('kernel', 'scale', 'var')
    kept = {key: shapes[key] for key in ('params', 'batch_stats')}
    arrays = {
        name: np.full(leaf.shape, name.endswith(ones), np.float32)
        for name, leaf in by_name(kept).items()
    }
    return nested(arrays)


def _match(reference: _Nodes, given: _Nodes) -> dict[str, str] | None:
    """Returns the graph's node for each node of a reference; None if the graphs differ."""
    if len(reference.nodes) != len(given.nodes):
        return None
    followers: dict[frozenset[str], list[str]] = {}
    for name in given.order:
        followers.setdefault(frozenset(given.sources[name]), []).append(name)
    order = [name for name in reference.order if name != reference.start]
    places = {reference.start: given.start}

    def alternatives(name: str) -> Iterator[str]:
        sources = frozenset(places[source] for source in reference.sources[name])
        taken = set(places.values())
        for other in followers.get(sources, []):
            if other not in taken and _alike(reference.nodes[name], given.nodes[other]):
                yield other

    # Two nodes can look alike until the nodes after them differ; then the other one is tried.
    trials = [alternatives(order[0])]
    while trials:
        name = order[len(trials) - 1]
        places.pop(name, None)
        if (other := next(trials[-1], None)) is None:
            trials.pop()
        else:
            places[name] = other
            if len(places) == len(reference.nodes):
                return places
            trials.append(alternatives(order[len(trials)]))
    return None


def _alike(a: Any, b: Any) -> bool:
    """Returns whether two nodes are the same except for the values of their arrays."""
    if type(a) is not type(b):
        return False
    match type(a).__name__:
        case 'Conv2d':
            padding = _same(b) if isinstance(b.padding, str) else _pair(b.padding)
            return (
                a.weight.shape == b.weight.shape
                and (_pair(a.stride), _pair(a.padding)) == (_pair(b.stride), padding)
                and _pair(b.dilation) == (1, 1)
                and int(b.groups) == 1
            )
        case 'AvgPool2d':
            keys = ('kernel_size', 'stride', 'padding')
            return all(_pair(getattr(a, key)) == _pair(getattr(b, key)) for key in keys)
        case 'Affine':
            return a.weight.shape == b.weight.shape
        case 'LIF':
            return np.size(b.v_threshold) in (1, np.size(a.v_threshold))
    return True


def _same(node: Any) -> tuple[int, ...]:
    """Returns the padding 'same' in pixels; (-1, -1), which matches no layer, for other names."""
    height, width = node.weight.shape[-2:]
    is_same = node.padding == 'same' and _pair(node.stride) == (1, 1)
    return (height // 2, width // 2) if is_same else (-1, -1)


def _variables(
    model: Network,
    probe: Mapping[str, Any],
    reference: nir.NIRGraph,
    given: _Nodes,
    places: Mapping[str, str],
) -> dict[str, Any]:
    """Returns the variables that give a network the weights of a graph."""
    arrays = {name: leaf.copy() for name, leaf in by_name(probe).items()}
    for name in arrays:
        collection, *path, leaf = name.split('/')
        if collection != 'params' or path == ['classifier'] or leaf != 'kernel':
            continue
        *layer, conv = path
        own = node_name(tuple(layer if conv == 'conv' else path))
        node = given.nodes[places[own]]
        arrays[name] = np.asarray(node.weight, np.float32).transpose(2, 3, 1, 0)
        norm = '/'.join(['params', *layer, 'norm'])
        # Only the last of several convolutions has a normalization.
        following = node_name((*layer, f'conv{int(conv[4:] or 0) + 1}')) if conv[4:] else ''
        if following in reference.nodes:
            arrays[f'params/{"/".join(path)}/bias'] = np.asarray(node.bias, np.float32)
        else:
            slope = np.ravel(reference.nodes[own].weight)[0]
            arrays[f'{norm}/scale'] = np.full_like(arrays[f'{norm}/scale'], 1 / slope)
            arrays[f'{norm}/bias'] = np.asarray(node.bias, np.float32)
    classifier = given.nodes[places['classifier']]
    weight = np.asarray(classifier.weight, np.float64)
    if weight.ndim == 4:
        weight = weight.sum((2, 3))
    arrays['params/classifier/kernel'] = weight.T.astype(np.float32)
    arrays['params/classifier/bias'] = np.asarray(classifier.bias, np.float32)
    return nested(arrays)
