"""Converted networks as graphs of NIR, in the weight-normalized form.

A NIR neuron is set to a fixed potential after a spike, but converted networks subtract the
threshold. A layer of converted neurons is therefore three nodes: an integrator, ``dv/dt = r I``, a
threshold, and a scale of -1 that feeds the threshold's output back to the integrator. The edge that
closes this cycle carries the spikes of the previous step. Step t computes

    v[t] = v[t-1] + x[t] - s[t-1]        s[t] = 1 if v[t] > threshold else 0

and has the spikes of a soft reset. The integrator starts at 0; an initial potential is subtracted
from the threshold instead. A layer with a hard reset is one node, ``nir.IF``.

All arrays have the axes (C, H, W). Fully connected layers are convolutions over all pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from snnjax.conversion.forms import normalize_weights
from snnjax.models.blocks import Block
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, SpikingNeurons
from snnjax.models.network import Network
from snnjax.models.observation import Call, capture_layers
from snnjax.models.params import by_name
from snnjax.models.pooling import AveragePool, Flatten, GlobalAveragePool, MaxPool

if TYPE_CHECKING:
    import nir


class _Stream(NamedTuple):
    """The nodes and the shape of a signal between two layers.

    Attributes:
      nodes: the names of the nodes that are summed.
      shape: the shape (H, W, C) of each summand.
      averaged: True if the mean over H and W is still to be taken.
      spikes: True if the signal consists of spikes; False if it depends on the image alone.
    """

    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    averaged: bool = False
    spikes: bool = True


def converted_graph(
    model: Network,
    variables: Mapping[str, Any],
    image_size: tuple[int, int],
    *,
    dt: float,
    dtype: Any,
) -> nir.NIRGraph:
    """Returns the graph of a converted network of integrate-and-fire neurons.

    Args:
      model: the network, unrolled.
      variables: the network's variables.
      image_size: the size (H, W) of the images.
      dt: the length of a time step.
      dtype: the dtype of the graph's arrays, which are computed in float64 first.

    Raises:
      ValueError: if NIR has no form for a part of the network: Poisson input, the gates of max
        pooling, or shortcuts that carry currents.
    """
    import nir

    if model.coding != 'direct':
        raise ValueError(f'the random input coding {model.coding!r} cannot be written')
    shape = (*image_size, model.in_channels)
    kinds = (Conv, nn.Dense, TDBN, SpikingNeurons, AveragePool, Flatten, GlobalAveragePool)
    with capture_layers(*kinds, Block, MaxPool) as calls:
        jax.eval_shape(
            model.clone(dtype=None).apply,
            dict(variables),
            jax.ShapeDtypeStruct((1, *shape), jnp.float32),
        )
    pools = [call for call in calls if isinstance(call.module, MaxPool)]
    if pools:
        raise ValueError(
            f'{"/".join(pools[0].path)} pools by the number of spikes so far, and NIR has no '
            f'node for that: convert an ANN with average pooling'
        )
    builder = _Builder(model, variables, calls, dt, dtype)
    builder.add('input', nir.Input({'input': np.array([shape[-1], *image_size])}), ())
    for call in calls:
        builder.take(call)
    (output,) = builder.waiting
    # The output layer feeds no neurons.
    classes = np.array([model.num_classes, 1, 1])
    builder.add('output', nir.Output({'output': classes}), (output,))
    return nir.NIRGraph(
        builder.nodes, builder.edges, metadata={'num_steps': model.num_steps, 'dt': dt}
    )


class _Builder:
    """The nodes and edges of a graph, built from the calls of a network's layers in order."""

    def __init__(
        self,
        model: Network,
        variables: Mapping[str, Any],
        calls: list[Call],
        dt: float,
        dtype: Any,
    ) -> None:
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []
        self.waiting: list[str] = []
        """The layers since the last neurons; all of them feed the next neurons."""
        self._params = by_name(variables['params'])
        self._dt, self._dtype = dt, dtype
        self._options = {
            '/'.join(call.path): call.module.all_options(self._arrays(call.path))
            for call in calls
            if isinstance(call.module, SpikingNeurons)
        }
        thresholds = {name: np.asarray(o['threshold']) for name, o in self._options.items()}
        image = next(call for call in calls if isinstance(call.module, Conv | nn.Dense))
        shape = image.input.shape[-3:]
        normalized = normalize_weights(model, variables, thresholds, shape)
        self._weights, self._shortcuts = normalized.weights, normalized.shortcuts
        self._blocks = {id(call.output): call for call in calls if isinstance(call.module, Block)}
        self._gain = next(iter(self._options.values()))['gain']
        self._streams: dict[int, _Stream] = {
            id(image.input): _Stream(('input',), shape, spikes=False)
        }
        self._latest = self._streams[id(image.input)]

    def take(self, call: Call) -> None:
        """Adds the nodes of one layer."""
        module, given = call.module, self._streams.get(id(call.input))
        if isinstance(module, Block):
            return
        if isinstance(module, TDBN):
            # The weights of the previous layer, which may have other axes, include it.
            self._streams[id(call.output)] = self._latest
            return
        if isinstance(module, SpikingNeurons):
            self._fire(call)
            return
        if given is None:
            raise ValueError(
                f'{"/".join(call.path)} has an input that is the output of no layer, as averaged '
                f'shortcuts have: it cannot be written to NIR'
            )
        shape = call.output.shape[2:]
        if isinstance(module, Flatten):
            found = given  # The next layer takes all pixels.
        elif isinstance(module, GlobalAveragePool):
            flat = call.input.shape[2:] != given.shape
            found = given if flat else given._replace(averaged=True)
        elif isinstance(module, AveragePool):
            found = given._replace(nodes=self._pool(call, given), shape=shape)
        else:
            found = given._replace(nodes=self._convolve(call, given), shape=shape)
            self._latest = found
        self._streams[id(call.output)] = found

    def add(self, name: str, node: nir.NIRNode, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Adds a node and the edges that lead to it."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in inputs]
        return (name,)

    def _pool(self, call: Call, given: _Stream) -> tuple[str, ...]:
        import nir

        size = np.array([call.module.size] * 2)
        node = nir.AvgPool2d(size, stride=size, padding=np.array([0, 0]))
        return self.add(_name(call), node, given.nodes)

    def _convolve(self, call: Call, given: _Stream) -> tuple[str, ...]:
        """Adds a convolution; a fully connected layer becomes one over all pixels."""
        import nir

        name = '/'.join(call.path)
        kernel, bias = self._weights[name]
        height, width, channels = given.shape
        stride, padding = 1, 0
        if isinstance(call.module, Conv):
            stride, padding = call.module.stride, call.module.kernel_size // 2
        elif given.averaged:
            pixels = height * width
            kernel = np.broadcast_to(kernel / pixels, (height, width, *kernel.shape))
        else:
            kernel = kernel.reshape(height, width, channels, -1)
        if given.spikes:
            kernel = kernel * self._gain
        node = nir.Conv2d(
            input_shape=(height, width),
            weight=self._cast(kernel.transpose(3, 2, 0, 1)),
            stride=(stride, stride),
            padding=(padding, padding),
            dilation=(1, 1),
            groups=1,
            bias=self._cast(bias),
        )
        self.waiting.append(_name(call))
        return self.add(_name(call), node, given.nodes)

    def _fire(self, call: Call) -> None:
        import nir

        path, name = '/'.join(call.path), _name(call)
        options = self._options[path]
        if options['lowest'] > -math.inf:
            raise ValueError(f'{path}: a lower bound on the potential cannot be written to NIR')
        sources = tuple(self.waiting)
        self.waiting = []
        shape = call.output.shape[2:]
        block = self._blocks.get(id(call.output))
        factor = self._shortcuts.get('/'.join(block.path)) if block is not None else None
        if block is not None and factor is not None:
            if block.input.shape != block.output.shape:
                raise ValueError(
                    f'the shortcut of {"/".join(block.path)} changes the shape without weights and '
                    f'cannot be written to NIR'
                )
            scale = nir.Scale(self._full(self._gain * factor, shape))
            stream = self._streams[id(block.input)]
            sources += self.add(f'{"_".join(block.path)}_shortcut', scale, stream.nodes)
        if options['drift']:
            node = self.nodes[sources[0]]
            node.bias = self._cast(node.bias + np.float64(options['drift']))
        start = np.asarray(options['initial'], np.float64)
        threshold = self._full(1 - start, shape)
        if not options['strict']:
            threshold = np.nextafter(threshold, np.asarray(-np.inf, self._dtype))
        r = self._full(1 / self._dt, shape)
        if options['soft_reset']:
            membrane, back = f'{name}_membrane', f'{name}_reset'
            self.add(membrane, nir.I(r), sources)
            self.add(name, nir.Threshold(threshold), (membrane,))
            self.add(back, nir.Scale(self._full(-1.0, shape)), (name,))
            self.edges.append((back, membrane))
        else:
            reset = self._full(-start, shape)
            self.add(name, nir.IF(r=r, v_threshold=threshold, v_reset=reset), sources)
        self._streams[id(call.output)] = _Stream((name,), shape)

    def _full(self, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array (C, H, W), broadcast from a scalar, (C,) or (H, W, C)."""
        full = np.broadcast_to(np.asarray(value, np.float64), shape)
        return self._cast(np.moveaxis(full, -1, 0)).copy()

    def _arrays(self, path: tuple[str, ...]) -> dict[str, np.ndarray]:
        place = '/'.join(path) + '/'
        return {
            name.removeprefix(place): np.asarray(value, np.float64)
            for name, value in self._params.items()
            if name.startswith(place)
        }

    def _cast(self, value: Any) -> np.ndarray:
        return np.asarray(value, self._dtype)


def _name(call: Call) -> str:
    """Returns a layer's node name; a convolution takes the name of its parent layer."""
    path = call.path[:-1] if call.path[-1] == 'conv' else call.path
    return '_'.join(path)
