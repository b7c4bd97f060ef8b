"""Residual blocks. Each takes and gives the network's stream, ``(B, T, H, W, C)``.

A block is built with two layers that are complete but for their place in it:
``conv_norm(features, kernel_size, stride, branch)`` and ``spike()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.models.layers import Branch
from snnjax.models.pooling import average_pool

Layer = Callable[..., nn.Module]


class Block(nn.Module):
    """What all blocks have in common.

    The residual path is two 3x3 convolutions; in a bottleneck a 1x1 convolution to a quarter of the
    width, a 3x3 convolution, and a 1x1 convolution back.

    Attributes:
      features: output channels.
      stride: of the first 3x3 convolution.
      conv_norm: convolution and normalisation, see the module.
      spike: neurons, see the module.
      bottleneck: whether the residual path is one.
      project_shortcut: a shortcut that changes the resolution only has a 1x1 convolution; if false,
        it averages pixels. One that changes the width has a convolution in any case.
      avgpool_shortcut: average pixels and convolve at stride 1 in a shortcut, instead of convolving
        at the block's stride, which leaves out pixels (B.3).
      spiking_shortcut: neurons before the shortcut's convolution, which then sees spikes.
      pad_shortcut: a shortcut without parameters, which leaves out pixels and adds channels of
        zeros behind the others (option A of He et al. 2016).
      project_always: a shortcut with a 1x1 convolution even if it has the shape of the output.
    """

    features: int
    stride: int
    conv_norm: Layer
    spike: Layer
    bottleneck: bool = False
    project_shortcut: bool = True
    avgpool_shortcut: bool = False
    spiking_shortcut: bool = False
    pad_shortcut: bool = False
    project_always: bool = False

    stream_of_spikes: ClassVar[bool]
    """Whether the stream is spikes, which the stem has to make and the head can read; otherwise it
    is a membrane potential."""

    layers_around: ClassVar[tuple[int, int, int] | None] = None
    """Layers of neurons of the block beside those between its convolutions: at the start or the end
    of the residual path, in a shortcut that has a convolution, and after the addition. None for a
    block that does not tell: networks of it have no rollout."""

    has_shortcut: ClassVar[bool] = True
    """False for a block that only has a residual path."""

    def shortcut(self, x: jax.Array) -> jax.Array:
        """The stream, brought to the shape of the block's output."""
        same_width = x.shape[-1] == self.features
        if self.stride == 1 and same_width and not self.project_always:
            return x
        if self.pad_shortcut:
            added = self.features - x.shape[-1]
            x = x[:, :, :: self.stride, :: self.stride]
            return jnp.pad(x, [(0, 0)] * 4 + [(0, added)])
        if same_width and not self.project_always and not self.project_shortcut:
            return average_pool(x, self.stride)
        if self.spiking_shortcut:
            x = self.spike(name='shortcut_spike')(x)
        stride = self.stride
        if self.avgpool_shortcut and stride > 1:
            x, stride = average_pool(x, stride), 1
        return self.conv_norm(self.features, 1, stride, 'shortcut', name='shortcut')(x)

    def residual(
        self, x: jax.Array, branch: Branch = 'residual', *, spikes_first: bool = False
    ) -> jax.Array:
        """The convolutions of the residual path, with neurons between them.

        Args:
          x: the stream.
          branch: what the last convolution's output is, see `snnjax.models.layers.ConvNorm`.
          spikes_first: whether there are neurons before the first convolution, too.
        """
        convolutions = [(self.features, 3, self.stride), (self.features, 3, 1)]
        if self.bottleneck:
            inner = self.features // 4
            convolutions = [(inner, 1, 1), (inner, 3, self.stride), (self.features, 1, 1)]
        for i, (features, size, stride) in enumerate(convolutions, start=1):
            if spikes_first or i > 1:
                x = self.spike(name=f'spike{i if spikes_first else i - 1}')(x)
            role = branch if i == len(convolutions) else None
            x = self.conv_norm(features, size, stride, role, name=f'conv{i}')(x)
        return x

    def last_spike(self, x: jax.Array) -> jax.Array:
        """The neurons after the last convolution, or after the addition."""
        return self.spike(name=f'spike{3 if self.bottleneck else 2}')(x)


class MSBlock(Block):
    """The membrane-shortcut block (figure 2a, right): ``x + conv(LIF(conv(LIF(x))))``.

    The stream that runs through the shortcuts is real-valued, a membrane potential that no neuron
    gates (eq. 8); what the convolutions of the residual path see are spikes.
    """

    stream_of_spikes = False
    layers_around = (1, 0, 0)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.residual(x, spikes_first=True)
        return self.shortcut(x) + residual


class VanillaBlock(Block):
    """The block of ANNs, with neurons for ReLU (eq. 5): ``LIF(x + conv(LIF(conv(x))))``.

    With the normalisation of Zheng et al. 2021 (``runtime_scale``) it is theirs.
    """

    stream_of_spikes = True
    layers_around = (0, 0, 1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.residual(x)
        return self.last_spike(self.shortcut(x) + residual)


class PlainBlock(Block):
    """Two layers without a shortcut, PlainNet (figure 1): ``LIF(conv(LIF(conv(x))))``."""

    stream_of_spikes = True
    layers_around = (0, 0, 1)
    has_shortcut = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        return self.last_spike(self.residual(x, None))


class WithoutInterBlockLIF(Block):
    """The vanilla block without the neurons between blocks (table 2): ``x + conv(LIF(conv(x)))``.

    Its first convolution sees the real-valued stream (section 4.3).
    """

    stream_of_spikes = False
    layers_around = (0, 0, 0)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.residual(x)
        return self.shortcut(x) + residual


class LIFBeforeAdditionBlock(Block):
    """Both branches end in neurons, and spikes are added: ``x + LIF(conv(LIF(conv(x))))``.

    The stream counts the spikes of the blocks before it, as in He et al. 2016, figure 4c. With
    integrate-and-fire neurons it is the spike-element-wise block of Fang et al. 2021, with ADD.
    """

    stream_of_spikes = True
    layers_around = (1, 1, 0)

    def connect(self, shortcut: jax.Array, residual: jax.Array) -> jax.Array:
        """The stream, from the spikes of both branches."""
        return shortcut + residual

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.last_spike(self.residual(x, 'spiking'))
        shortcut = self.shortcut(x)
        if shortcut is not x:
            shortcut = self.spike(name='shortcut_spike')(shortcut)
        return self.connect(shortcut, residual)


class SEWAndBlock(LIFBeforeAdditionBlock):
    """The spike-element-wise block with AND: a spike where both branches have one."""

    def connect(self, shortcut: jax.Array, residual: jax.Array) -> jax.Array:
        """The product of two spikes."""
        return shortcut * residual


class SEWIandBlock(LIFBeforeAdditionBlock):
    """The spike-element-wise block with IAND: the shortcut's spike, but where the residual's is."""

    def connect(self, shortcut: jax.Array, residual: jax.Array) -> jax.Array:
        """``shortcut AND NOT residual``."""
        return shortcut * (1 - residual)


BLOCKS: dict[str, type[Block]] = {
    'ms': MSBlock,
    'vanilla': VanillaBlock,
    'plain': PlainBlock,
    'wo_lif': WithoutInterBlockLIF,
    'lif_before_add': LIFBeforeAdditionBlock,
    'sew_and': SEWAndBlock,
    'sew_iand': SEWIandBlock,
    'ann': MSBlock,
}
"""Blocks by the kind of the network. An ANN has the skeleton of MS-ResNet, with ReLU."""
