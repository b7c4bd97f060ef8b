"""Networks as graphs of NIR, the exchange format of simulators and neuromorphic chips.

A graph takes one normalized image or frame (C, H, W) in each time step, and returns the
classifier's scores of each step. The logits are the mean of the scores over time.

- Normalization by the running statistics is folded into the preceding convolution.
- A sum has no node: all summands have edges to the nodes that read the sum.
- A neuron is ``tau dv/dt = v_leak - v + r I``. Its Euler step ``v + dt / tau * (v_leak - v + r I)``
  equals ``decay * v + I`` for ``tau = dt / (1 - decay)`` and ``r = 1 / (1 - decay)``.
- A NIR neuron fires at ``v > v_threshold``. Neurons of this package also fire at the threshold
  unless they are strict; their ``v_threshold`` is the next smaller number of the graph's dtype.

`NIR_NEURONS` maps a neuron's name to its node. `snnjax.export.nir_converted` writes networks that
were converted from ANNs. Other software reads only a part of NIR: for the software in `READERS` a
graph is written in another form that computes the same.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.models.blocks import BLOCKS
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, SpikingNeurons
from snnjax.models.network import DEFAULT_NUM_STEPS, Network
from snnjax.models.observation import capture_layers
from snnjax.models.resnets import ResNet
from snnjax.spelling import did_you_mean

if TYPE_CHECKING:
    import nir

Path = tuple[str, ...]
Stream = tuple[str, ...]  # Names of the nodes that are summed.

_RESIDUAL_PATHS = {
    'ms': ('spike1', 'conv1', 'spike2', 'conv2'),
    'vanilla': ('conv1', 'spike1', 'conv2'),
    'plain': ('conv1', 'spike1', 'conv2', 'spike2'),
    'wo_lif': ('conv1', 'spike1', 'conv2'),
    'lif_before_add': ('conv1', 'spike1', 'conv2', 'spike2'),
}


SECONDS = 1e-4
"""Length of a time step in seconds that most software that reads NIR assumes."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """The part of NIR that a piece of software reads.

    Attributes:
      dt: the software's fixed time step in seconds, or None if it can be chosen.
      pools_by_convolution: True if the mean over space and the classifier are one convolution with
        the output shape (classes, 1, 1), because the software has no mean or no batch axis there.
      unit_resistance: True if neurons have ``r`` = 1, with thresholds lowered to match.
    """

    dt: float | None = None
    pools_by_convolution: bool = False
    unit_resistance: bool = False


READERS = {
    'norse': Reader(pools_by_convolution=True, unit_resistance=True),
    'snntorch': Reader(dt=SECONDS, pools_by_convolution=True),
    'spikingjelly': Reader(),
}
"""Software that reads NIR, by name."""


@dataclasses.dataclass(frozen=True)
class NeuronLayer:
    """A layer of neurons to be written as a node.

    Attributes:
      options: the neuron's options by name, with learned values.
      shape: the shape (C, H, W).
      dt: the length of a time step.
      dtype: the dtype of the node's arrays.
      unit_resistance: True if neurons have ``r`` = 1, as in `Reader`.
    """

    options: Mapping[str, Any]
    shape: tuple[int, int, int]
    dt: float
    dtype: Any
    unit_resistance: bool = False

    def full(self, value: Any) -> np.ndarray:
        """Returns an array of the layer's shape and dtype."""
        return np.full(self.shape, np.asarray(value, self.dtype))


def lif_node(layer: NeuronLayer) -> nir.NIRNode:
    """Returns the node of a layer of `snnjax.neurons.lif`.

    Raises:
      ValueError: if the neurons have no leak, or a soft reset.
    """
    import nir

    options = layer.options
    decay = options['decay']
    if not 0 <= decay < 1:
        raise ValueError(
            f'neurons of decay {decay} cannot be written: NIR needs a decay of at least 0, below 1'
        )
    if options['soft_reset']:
        raise ValueError('soft_reset=True cannot be written: neurons of NIR have a hard reset')
    r = 1 if options['decay_input'] else 1 / (1 - decay)
    # Dividing all potentials by this unit lets neurons with r = 1 compute the same spikes.
    unit = r if layer.unit_resistance else 1
    threshold = np.asarray(options['threshold'] / unit, layer.dtype)
    if not options['strict']:
        threshold = np.nextafter(threshold, np.asarray(-np.inf, layer.dtype))
    return nir.LIF(
        tau=layer.full(layer.dt / (1 - decay)),
        r=layer.full(r / unit),
        v_leak=layer.full(0),
        v_threshold=layer.full(threshold),
        v_reset=layer.full(options['reset'] / unit),
    )


NIR_NEURONS: dict[str, Callable[[NeuronLayer], nir.NIRNode]] = {'lif': lif_node}
"""Functions that return the node of a layer, by the neuron's name in `snnjax.neurons.NEURONS`."""


def to_graph(
    model: Network,
    variables: Mapping[str, Any],
    image_size: tuple[int, int],
    *,
    dt: float = 1.0,
    dtype: Any = np.float32,
    reader: str = '',
) -> nir.NIRGraph:
    """Returns the graph of a network in inference.

    Args:
      model: the network. The graph does not depend on its compute dtype.
      variables: the network's variables, repeated layers not stacked.
      image_size: the size (H, W) of the images.
      dt: the length of a time step, in the unit of ``tau``.
      dtype: the dtype of the graph's arrays, which are computed in float64 first.
      reader: a key of `READERS`, or '' for a graph as NIR specifies it.

    Returns:
      The graph, with nodes named by `node_name` and ``num_steps`` and ``dt`` in its metadata.

    Raises:
      ImportError: if the package ``nir`` is not installed.
      ValueError: if NIR has no nodes for the network or its neurons, or if the reader is unknown
        or has another time step.
    """
    if model.rollout:
        raise ValueError(
            'a rollout, whose edges take a time step each, cannot be written to NIR: write the '
            'sequential network'
        )
    if model.is_spiking and model.neuron == 'integrate_and_fire':
        if reader:
            raise ValueError(
                f'{reader} is not known to read the integrators of converted networks: leave '
                f'out --for'
            )
        from snnjax.export.nir_converted import converted_graph

        return converted_graph(model.unrolled(), variables, image_size, dt=dt, dtype=dtype)
    if not isinstance(model, ResNet):
        raise ValueError('only residual networks of spiking neurons can be written to NIR')
    missing = {
        'an activation instead of a neuron': not model.is_spiking and model.kind != 'ann',
        f"the block of kind '{model.kind}'": model.kind not in _RESIDUAL_PATHS,
        'a bottleneck': model.bottleneck,
        'a padded shortcut': model.pad_shortcut,
        'max pooling': model.max_pool,
        'a hidden layer': bool(model.hidden),
        'the output of logits at every time step': model.step_logits,
    }
    for what, has in missing.items():
        if has:
            raise ValueError(f'{what} cannot be written to NIR')
    if not model.is_spiking:
        raise ValueError('a network of activations cannot be written to NIR, only one of neurons')
    if model.neuron not in NIR_NEURONS:
        raise ValueError(
            f'the neuron {model.neuron!r} cannot be written to NIR: '
            f'snnjax.export.nir_graph.NIR_NEURONS has only {", ".join(NIR_NEURONS)}'
        )
    if reader and reader not in READERS:
        raise ValueError(f'unknown reader {reader!r}; {did_you_mean(reader, READERS)}')
    form = READERS.get(reader, Reader())
    if form.dt not in (None, dt):
        raise ValueError(f'{reader} has a fixed time step of {form.dt:g} s, not dt={dt:g}')
    import nir

    height, width = image_size
    builder = _Builder(model, variables, (height, width, model.in_channels), dt, dtype, form)
    x = builder.input((model.in_channels, height, width))
    if model.stem == 'conv3x3x3':
        x = builder.conv_norm(x, ('stem',), convolutions=('conv1', 'conv2', 'conv3'))
    else:
        x = builder.layer(x, ('stem',))
    stream_of_spikes = BLOCKS[model.kind].stream_of_spikes
    if stream_of_spikes:
        x = builder.layer(x, ('spike',))
    for stage, (count, stride) in enumerate(zip(model.blocks, model.strides, strict=True), start=1):
        for block in range(1, count + 1):
            place = (f'stage{stage}', f'block{block}')
            x = _block(builder, model.kind, x, place, stride if block == 1 else 1)
    if not stream_of_spikes:
        x = builder.layer(x, ('spike',))
    builder.head(x)
    return nir.NIRGraph(
        builder.nodes,
        builder.edges,
        metadata={'num_steps': model.num_steps or DEFAULT_NUM_STEPS, 'dt': dt},
    )


def node_name(path: Path) -> str:
    """Returns a node's name: ``('stage1', 'block1', 'spike1')`` gives 'stage1_block1_spike1'."""
    return '_'.join(path)


def _block(builder: _Builder, kind: str, x: Stream, place: Path, stride: int) -> Stream:
    """Adds a residual block of `snnjax.models.blocks`."""
    residual = x
    for name in _RESIDUAL_PATHS[kind]:
        residual = builder.layer(residual, (*place, name))
    if kind == 'plain':
        return residual
    x = builder.shortcut(x, place, stride, spikes_added=kind == 'lif_before_add') + residual
    return builder.layer(x, (*place, 'spike2')) if kind == 'vanilla' else x


class _Builder:
    """The nodes and edges of a graph, built from the layers of a network.

    Args:
      model: the network.
      variables: the network's variables.
      image_shape: the shape (H, W, C) of an image.
      dt: the length of a time step, as in `to_graph`.
      dtype: the dtype of the graph's arrays.
      reader: the software that the graph is written for.

    Attributes:
      nodes: the nodes added so far, by name.
      edges: the edges added so far.
    """

    def __init__(
        self,
        model: ResNet,
        variables: Mapping[str, Any],
        image_shape: tuple[int, int, int],
        dt: float,
        dtype: Any,
        reader: Reader,
    ) -> None:
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []
        self._model, self._variables, self._dt, self._dtype = model, variables, dt, dtype
        self._reader = reader
        # Only shapes and the modules' options are needed; nothing is computed.
        with capture_layers(Conv, TDBN, SpikingNeurons, nn.Dense) as calls:
            jax.eval_shape(
                functools.partial(model.unrolled().clone(dtype=None).apply, train=False),
                variables,
                jax.ShapeDtypeStruct((1, *image_shape), jnp.float32),
            )
        self._calls = {call.path: call for call in calls}

    def input(self, shape: tuple[int, int, int]) -> Stream:
        """Adds the input node for images (C, H, W)."""
        import nir

        return self._add('input', nir.Input({'input': np.array(shape)}), ())

    def layer(self, x: Stream, path: Path) -> Stream:
        """Adds neurons, or a convolution with its normalization."""
        return self._spike(x, path) if path in self._calls else self.conv_norm(x, path)

    def conv_norm(self, x: Stream, path: Path, convolutions: tuple[str, ...] = ('conv',)) -> Stream:
        """Adds convolutions, the last with the normalization after it."""
        import nir

        *_, last = convolutions
        for name in convolutions:
            call = self._calls[*path, name]
            of_conv = self._arrays('params', *path, name)
            kernel, bias = of_conv['kernel'], of_conv.get('bias', 0.0)
            if name == last:
                slope, offset = self._normalization((*path, 'norm'))
                kernel, bias = kernel * slope, bias * slope + offset
            size, stride = call.module.kernel_size, call.module.stride
            node = nir.Conv2d(
                input_shape=call.input.shape[2:4],
                weight=self._cast(kernel.transpose(3, 2, 0, 1)),
                stride=(stride, stride),
                padding=(size // 2, size // 2),
                dilation=(1, 1),
                groups=1,
                bias=self._cast(bias),
            )
            x = self._add(node_name(path if name == 'conv' else (*path, name)), node, x)
        return x

    def shortcut(self, x: Stream, place: Path, stride: int, *, spikes_added: bool) -> Stream:
        """Adds the shortcut of a block, with the shape of the block's output."""
        path, neurons = (*place, 'shortcut'), (*place, 'shortcut_spike')
        conv = self._calls.get((*path, 'conv'))
        has_neurons = neurons in self._calls
        if has_neurons and not spikes_added:
            x = self._spike(x, neurons)
        if stride > 1 and (conv is None or conv.module.stride == 1):
            x = self._pool(x, (*place, 'pool'), (stride, stride))
        if conv is not None:
            x = self.conv_norm(x, path)
        return self._spike(x, neurons) if has_neurons and spikes_added else x

    def head(self, x: Stream) -> None:
        """Adds the mean over space and the classifier."""
        import nir

        height, width, channels = next(
            call.output.shape[2:]
            for call in reversed(self._calls.values())
            if isinstance(call.module, SpikingNeurons)
        )
        arrays = self._arrays('params', 'classifier')
        if self._reader.pools_by_convolution:
            mean = np.full((1, 1, height, width), 1 / (height * width))
            node = nir.Conv2d(
                input_shape=(height, width),
                weight=self._cast(arrays['kernel'].T[..., None, None] * mean),
                stride=(1, 1),
                padding=(0, 0),
                dilation=(1, 1),
                groups=1,
                bias=self._cast(arrays['bias']),
            )
            x = self._add('classifier', node, x)
            shape = np.array([*arrays['bias'].shape, 1, 1])
            self._add('output', nir.Output({'output': shape}), x)
            return
        x = self._pool(x, ('pool',), (height, width))
        flatten = nir.Flatten({'input': np.array([channels, 1, 1])}, start_dim=0, end_dim=-1)
        x = self._add('flatten', flatten, x)
        affine = nir.Affine(self._cast(arrays['kernel'].T), self._cast(arrays['bias']))
        x = self._add('classifier', affine, x)
        self._add('output', nir.Output({'output': np.array(arrays['bias'].shape)}), x)

    def _spike(self, x: Stream, path: Path) -> Stream:
        call = self._calls[path]
        layer = cast(SpikingNeurons, call.module)
        height, width, channels = call.output.shape[2:]
        neurons = NeuronLayer(
            layer.all_options(self._arrays('params', *path)),
            (channels, height, width),
            self._dt,
            self._dtype,
            self._reader.unit_resistance,
        )
        return self._add(node_name(path), NIR_NEURONS[self._model.neuron](neurons), x)

    def _pool(self, x: Stream, path: Path, size: tuple[int, int]) -> Stream:
        import nir

        node = nir.AvgPool2d(np.array(size), stride=np.array(size), padding=np.array([0, 0]))
        return self._add(node_name(path), node, x)

    def _normalization(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Returns the factor and the offset of a normalization, one value for each channel."""
        norm = self._calls[path].module
        params, statistics = self._arrays('params', *path), self._arrays('batch_stats', *path)
        deviation = np.sqrt(statistics['var'] + norm.epsilon)
        slope = norm.gain * params['scale'] / deviation
        return slope, params['bias'] - statistics['mean'] * slope

    def _arrays(self, *path: str) -> dict[str, np.ndarray]:
        """Returns the variables of a module as float64."""
        tree = functools.reduce(lambda tree, name: tree.get(name, {}), path, self._variables)
        return {name: np.asarray(leaf, np.float64) for name, leaf in tree.items()}

    def _cast(self, value: Any) -> np.ndarray:
        return np.asarray(value, self._dtype)

    def _add(self, name: str, node: nir.NIRNode, inputs: Stream) -> Stream:
        self.nodes[name] = node
        self.edges += [(source, name) for source in inputs]
        return (name,)
