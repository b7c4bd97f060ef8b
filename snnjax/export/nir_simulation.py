"""A simulator of NIR graphs, which checks that they compute the right spikes.

Time advances in forward Euler steps. Within a step the nodes run from the input to the output, and
a spike reaches the next layer in the same step. An edge back to an integrator takes effect in the
next step.
"""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.export.nir_graph import node_name
from snnjax.models.layers import SpikingNeurons
from snnjax.models.network import Network
from snnjax.models.observation import capture_layers

if TYPE_CHECKING:
    import nir

Layer = Callable[[np.ndarray], np.ndarray]


class Simulation(NamedTuple):
    """The outputs and spikes of a simulated graph.

    Attributes:
      output: the values of the output node, shape (B, T, ...).
      spikes: the spikes of each layer of neurons by node name, bool, shape (B, T, ...).
    """

    output: np.ndarray
    spikes: Mapping[str, np.ndarray]


def simulate(graph: nir.NIRGraph, inputs: np.ndarray, *, dt: float) -> Simulation:
    """Runs a graph of the nodes that `snnjax.export.nir_graph` and `nir_converted` write.

    Args:
      graph: the graph, with one input and one output; each cycle must pass an integrator.
      inputs: the inputs (B, T, ...) in the shape of the graph's input; their dtype is used for all
        computation.
      dt: the length of a time step.

    Raises:
      ValueError: if the graph has other nodes, or a cycle without an integrator.
    """
    back = _leading_back(graph)
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        if (source, target) not in back:
            sources[target].append(source)
    order = list(graphlib.TopologicalSorter(sources).static_order())
    layers = {name: _layer(name, graph.nodes[name], dt, inputs.dtype) for name in order}
    (start,), (end,) = graph.inputs, graph.outputs
    neurons = [name for name, layer in layers.items() if isinstance(layer, _Firing)]
    outputs, spikes = [], {name: [] for name in neurons}  # type: ignore[var-annotated]
    values: dict[str, np.ndarray] = {}
    for t in range(inputs.shape[1]):
        before, values = values, {start: inputs[:, t]}
        for name in order:
            if name != start:
                # Sums of floats depend on the order: that of the edges is used.
                first, *others = (values[source] for source in sources[name])
                others += [before[s] for s, target in back if target == name and s in before]
                values[name] = layers[name](sum(others, start=first))
        outputs.append(values[end])
        for name in neurons:
            spikes[name].append(values[name] > 0)
    return Simulation(
        np.stack(outputs, axis=1),
        {name: np.stack(steps, axis=1) for name, steps in spikes.items()},
    )


def _leading_back(graph: nir.NIRGraph) -> list[tuple[str, str]]:
    """Returns the edges that close a cycle through an integrator."""
    targets: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        targets[source].append(target)

    def reaches(name: str, end: str) -> bool:
        seen, left = set(), [name]
        while left:
            name = left.pop()
            if name == end:
                return True
            if name not in seen:
                seen.add(name)
                left += targets[name]
        return False

    integrators = {name for name, node in graph.nodes.items() if type(node).__name__ == 'I'}
    return [
        (source, target)
        for source, target in graph.edges
        if target in integrators and reaches(target, source)
    ]


class _Firing:
    """A layer whose outputs are spikes."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class _Thresholds(_Firing):
    """Neurons that fire if their input is above the threshold."""

    def __init__(self, node: Any, dtype: Any) -> None:
        self._threshold = node.threshold.astype(dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x > self._threshold).astype(x.dtype)


class _Integrators:
    """Neurons that sum their input over time, from 0."""

    def __init__(self, node: Any, dt: float, dtype: Any) -> None:
        self._rate = np.asarray(dt * node.r, dtype)
        self._v = np.zeros_like(self._rate)

    def __call__(self, current: np.ndarray) -> np.ndarray:
        self._v = self._v + self._rate * current
        return self._v


class _IntegrateAndFire(_Integrators, _Firing):
    """IF neurons with a hard reset."""

    def __init__(self, node: Any, dt: float, dtype: Any) -> None:
        super().__init__(node, dt, dtype)
        self._threshold, self._reset = node.v_threshold.astype(dtype), node.v_reset.astype(dtype)

    def __call__(self, current: np.ndarray) -> np.ndarray:
        fires = super().__call__(current) > self._threshold
        self._v = np.where(fires, self._reset, self._v)
        return fires.astype(current.dtype)


class _Neurons(_Firing):
    """LIF neurons that keep their potential between calls."""

    def __init__(self, node: Any, dt: float, dtype: Any) -> None:
        self._rate = np.asarray(dt, dtype) / node.tau.astype(dtype)
        self._r, self._leak = node.r.astype(dtype), node.v_leak.astype(dtype)
        self._threshold, self._reset = node.v_threshold.astype(dtype), node.v_reset.astype(dtype)
        self._v = np.zeros_like(self._rate)

    def __call__(self, current: np.ndarray) -> np.ndarray:
        v = self._v + self._rate * (self._leak - self._v + self._r * current)
        fires = v > self._threshold
        self._v = np.where(fires, self._reset, v)
        return fires.astype(current.dtype)


def _layer(name: str, node: Any, dt: float, dtype: Any) -> Layer:
    kind = type(node).__name__
    if kind == 'LIF':
        return _Neurons(node, dt, dtype)
    if kind == 'IF':
        return _IntegrateAndFire(node, dt, dtype)
    if kind == 'I':
        return _Integrators(node, dt, dtype)
    if kind == 'Threshold':
        return _Thresholds(node, dtype)
    if kind == 'Scale':
        scale = node.scale.astype(dtype)
        return lambda x: x * scale
    if kind in ('Input', 'Output'):
        return lambda x: x
    if kind == 'Conv2d' and node.groups == 1 and tuple(node.dilation) == (1, 1):
        return _convolution(node, dtype)
    if kind == 'AvgPool2d':
        return lambda x: _windows(x, node.kernel_size, node.stride, node.padding).mean((-2, -1))
    if kind == 'Affine':
        weight, bias = node.weight.astype(dtype), node.bias.astype(dtype)
        return lambda x: x @ weight.T + bias
    if kind == 'Flatten' and (node.start_dim, node.end_dim) == (0, -1):
        return lambda x: x.reshape(len(x), -1)
    raise ValueError(f'node {name!r} of the graph, {node}, has a type that cannot be simulated')


def _convolution(node: Any, dtype: Any) -> Layer:
    weight, bias = node.weight.astype(dtype), node.bias.astype(dtype)

    def convolve(x: np.ndarray) -> np.ndarray:
        windows = _windows(x, weight.shape[2:], node.stride, node.padding)
        summed = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))
        return np.moveaxis(summed + bias, -1, 1)

    return convolve


def _windows(x: np.ndarray, size: Any, stride: Any, padding: Any) -> np.ndarray:
    """Returns each output pixel's window: (B, C, H, W) -> (B, C, H', W', height, width)."""
    (above, left), (down, right) = padding, stride
    padded = np.pad(x, ((0, 0), (0, 0), (above, above), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(size), axis=(2, 3))
    return windows[:, :, ::down, ::right]


def run_model(
    model: Network, variables: Mapping[str, Any], images: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Runs the network itself, for comparison with `simulate`.

    Args:
      model: the network.
      variables: the network's variables, repeated layers not stacked.
      images: the images (B, H, W, C) or (B, T, H, W, C); their dtype is used for all computation.

    Returns:
      The logits (B, classes), and the spikes of the neurons by node name.
    """
    model = model.unrolled().clone(dtype=None)

    def run(variables: Any, images: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        with capture_layers(SpikingNeurons) as calls:
            logits = model.apply(variables, images)
        spikes = {node_name(call.path): call.output > 0 for call in calls}
        return logits, {name: jnp.moveaxis(fired, -1, 2) for name, fired in spikes.items()}

    with jax.enable_x64(images.dtype == np.float64):
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, images.dtype), variables)
        return jax.device_get(jax.jit(run)(variables, images))


def equal_share(spikes: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Returns the share of neurons and time steps, over all layers, with the same spikes."""
    equal = sum(np.count_nonzero(spikes[name] == fired) for name, fired in expected.items())
    return equal / sum(fired.size for fired in expected.values())


def to_inputs(images: np.ndarray, num_steps: int) -> np.ndarray:
    """Converts images (B, H, W, C) or frames (B, T, H, W, C) to graph inputs (B, T, C, H, W)."""
    if images.ndim == 4:
        images = np.repeat(images[:, None], num_steps, axis=1)
    return np.moveaxis(images, -1, 2)
