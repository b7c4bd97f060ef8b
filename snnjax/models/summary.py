"""What a network is made of: its layers, their shapes, parameters and operations."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.models.activations import Activation, ReLU
from snnjax.models.convolution import Conv
from snnjax.models.few_spike_layers import FewSpikes
from snnjax.models.layers import TDBN, SpikingNeurons
from snnjax.models.network import Network
from snnjax.models.observation import SYNAPSES, Call, capture_layers
from snnjax.models.params import is_in_stage
from snnjax.models.poisson import PoissonInput
from snnjax.models.pooling import Concatenate, Flatten, MaxPool


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Attributes:
      path: names of the modules around it and its own, ``('stage1', 'block1', 'conv1', 'conv')``.
      kind: what it is.
      input: what a convolution or a fully connected layer sees; '' for other layers.
      shape: of its output, (H, W, C), or (C,) for the classifier; (1, 1, C) for a fully connected
        layer at every time step.
      runs: how often it is computed for an image: once, or for each time step.
      parameters: how many numbers it learns.
      macs: multiply-accumulate operations each time that it is computed.
      groups: parts of its channels, each with a convolution of its own.
    """

    path: tuple[str, ...]
    kind: Literal['convolution', 'normalisation', 'neurons', 'ReLU', 'activation', 'dense']
    input: Literal['spikes', 'real', '']
    shape: tuple[int, ...]
    runs: int
    parameters: int
    macs: int
    groups: int = 1

    @property
    def name(self) -> str:
        """``stage1/block1/conv1/conv``."""
        return '/'.join(self.path)

    @property
    def in_residual_path(self) -> bool:
        """Whether it is a convolution of a residual path, which the paper's energy counts."""
        return (
            is_in_stage(self.name)
            and self.kind == 'convolution'
            and self.path[-2].startswith('conv')
        )


def summarise(model: Network, image_shape: tuple[int, ...]) -> list[LayerSummary]:
    """The layers of a network in the order in which they run; nothing is computed or compiled.

    A layer sees spikes where its input is the output of neurons, or a selection of it: spikes that
    were added up or averaged on the way are real values to it.

    Args:
      model: the network; layers that it scans are listed one by one.
      image_shape: (H, W, C), or (T, H, W, C) for frames.

    Raises:
      ValueError: for a shape that the network cannot take.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with capture_layers(*_KINDS, *_SELECTIONS, PoissonInput) as calls:
        init = functools.partial(model.unrolled().init, train=False)
        jax.eval_shape(init, jax.random.key(0), images)
    # The very arrays that neurons put out.
    spikes: set[int] = set()
    layers = []
    for call in calls:
        inputs = call.input if isinstance(call.module, Concatenate) else [call.input]
        sees_spikes = all(id(x) in spikes for x in inputs)
        selects = isinstance(call.module, _SELECTIONS)
        if isinstance(call.module, _SPIKES) or (selects and sees_spikes):
            spikes.add(id(call.output))
        if not selects and not isinstance(call.module, PoissonInput):
            layers.append(_summarise(call, sees_spikes=sees_spikes))
    return layers


def _summarise(call: Call, *, sees_spikes: bool) -> LayerSummary:
    out = call.output
    computes = isinstance(call.module, SYNAPSES)
    return LayerSummary(
        path=call.path,
        kind=next(_KINDS[kind] for kind in type(call.module).mro() if kind in _KINDS),
        input=('spikes' if sees_spikes else 'real') if computes else '',
        shape=out.shape[2:] if out.ndim == 5 else out.shape[1:],
        runs=out.shape[1] if out.ndim == 5 else 1,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(call.variables.get('params', {}))),
        macs=_macs(call) if computes else 0,
        groups=call.module.groups if isinstance(call.module, Conv) else 1,
    )


_KINDS: dict[type[nn.Module], Any] = {
    Conv: 'convolution',
    TDBN: 'normalisation',
    SpikingNeurons: 'neurons',
    FewSpikes: 'neurons',
    ReLU: 'ReLU',
    Activation: 'activation',
    nn.Dense: 'dense',
}

_SPIKES = (SpikingNeurons, FewSpikes, PoissonInput)

# They give spikes where they get spikes.
_SELECTIONS = (MaxPool, Flatten, Concatenate)


def _macs(call: Call) -> int:
    """Each output is a sum over the inputs that its part of the kernel multiplies."""
    out = call.output
    pixels = out.shape[2] * out.shape[3] if out.ndim == 5 else 1
    return call.variables['params']['kernel'].size * pixels


def spiking_macs(layers: list[LayerSummary]) -> int:
    """Multiply-accumulates a time step that the paper's energy counts (table 5).

    They are those of the convolutions in residual paths; in a network without any, those of all
    layers that see spikes, and in an ANN without any, those of all layers.
    """
    counted = [layer for layer in layers if layer.in_residual_path]
    counted = counted or [layer for layer in layers if layer.input == 'spikes'] or layers
    return sum(layer.macs for layer in counted)
