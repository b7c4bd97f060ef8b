"""Summaries of networks: layers, shapes, parameters and operations."""

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
      path: the names of the modules around it and its own, ``('stage1', 'block1', 'conv1',
        'conv')``.
      kind: the kind of layer.
      input: 'spikes' or 'real', the inputs of a convolution or a fully connected layer; '' for
        other layers.
      shape: the output shape: (H, W, C), (C,) for the classifier, or (1, 1, C) for a fully
        connected layer at every time step.
      runs: the number of evaluations per image: 1, or one per time step.
      parameters: the number of learned values.
      macs: the number of multiply-accumulate operations per evaluation.
      groups: the number of channel groups, each with its own convolution.
    """

    path: tuple[str, ...]
    kind: Literal['convolution', 'normalization', 'neurons', 'ReLU', 'activation', 'dense']
    input: Literal['spikes', 'real', '']
    shape: tuple[int, ...]
    runs: int
    parameters: int
    macs: int
    groups: int = 1

    @property
    def name(self) -> str:
        """Returns the path as a name, such as ``stage1/block1/conv1/conv``."""
        return '/'.join(self.path)

    @property
    def in_residual_path(self) -> bool:
        """Returns True for convolutions of residual paths, which the paper's energy counts."""
        return (
            is_in_stage(self.name)
            and self.kind == 'convolution'
            and self.path[-2].startswith('conv')
        )


def summarize(model: Network, image_shape: tuple[int, ...]) -> list[LayerSummary]:
    """Returns the layers of a network in forward order, without computing or compiling it.

    The inputs of a layer are spikes if they are the output of neurons or a selection of it. Sums or
    averages of spikes are real values.

    Args:
      model: the network; scanned layers are listed one by one.
      image_shape: (H, W, C), or (T, H, W, C) for a sequence.

    Raises:
      ValueError: if images of this shape do not fit the network.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with capture_layers(*_KINDS, *_SELECTIONS, PoissonInput) as calls:
        init = functools.partial(model.unrolled().init, train=False)
        jax.eval_shape(init, jax.random.key(0), images)
    # The ids of the arrays that are spikes.
    spikes: set[int] = set()
    layers = []
    for call in calls:
        inputs = call.input if isinstance(call.module, Concatenate) else [call.input]
        sees_spikes = all(id(x) in spikes for x in inputs)
        selects = isinstance(call.module, _SELECTIONS)
        if isinstance(call.module, _SPIKES) or (selects and sees_spikes):
            spikes.add(id(call.output))
        if not selects and not isinstance(call.module, PoissonInput):
            layers.append(_summarize(call, sees_spikes=sees_spikes))
    return layers


def _summarize(call: Call, *, sees_spikes: bool) -> LayerSummary:
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
    TDBN: 'normalization',
    SpikingNeurons: 'neurons',
    FewSpikes: 'neurons',
    ReLU: 'ReLU',
    Activation: 'activation',
    nn.Dense: 'dense',
}

_SPIKES = (SpikingNeurons, FewSpikes, PoissonInput)

# These modules return spikes if they get spikes.
_SELECTIONS = (MaxPool, Flatten, Concatenate)


def _macs(call: Call) -> int:
    """Returns the multiply-accumulates of a call: one per pixel and entry of the kernel."""
    out = call.output
    pixels = out.shape[2] * out.shape[3] if out.ndim == 5 else 1
    return call.variables['params']['kernel'].size * pixels


def spiking_macs(layers: list[LayerSummary]) -> int:
    """Returns the multiply-accumulates per time step that the paper's energy counts (table 5).

    The energy counts the convolutions in residual paths. If a network has none, it counts all
    layers that read spikes; if there are none of these either, as in an ANN, it counts all layers.
    """
    counted = [layer for layer in layers if layer.in_residual_path]
    counted = counted or [layer for layer in layers if layer.input == 'spikes'] or layers
    return sum(layer.macs for layer in counted)
