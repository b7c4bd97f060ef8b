"""Residual blocks. Each block maps the network's stream ``(B, T, H, W, C)`` to the next one.

A block is built from two layer constructors, which lack only the arguments that depend on the place
in the block: ``conv_norm(features, kernel_size, stride, branch)`` and ``spike()``.
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
    """The base class of all blocks.

    The residual path has two 3x3 convolutions. In a bottleneck it has a 1x1 convolution to a
    quarter of the width, a 3x3 convolution, and a 1x1 convolution back to the full width.

    Attributes:
      features: the number of output channels.
      stride: the stride of the first 3x3 convolution.
      conv_norm: a constructor of convolution and normalization, see the module.
      spike: a constructor of neurons, see the module.
      bottleneck: True for a bottleneck.
      project_shortcut: True for a 1x1 convolution in a shortcut that changes only the resolution;
        False to average pixels there. A shortcut that changes the width always has a convolution.
      avgpool_shortcut: True to average pixels and convolve at stride 1 in a shortcut, instead of
        convolving at the block's stride, which skips pixels (B.3).
      spiking_shortcut: True for neurons before the shortcut's convolution, which then reads spikes.
      pad_shortcut: True for a shortcut without parameters, which skips pixels and appends channels
        of zeros (option A of He et al. 2016).
      project_always: True for a 1x1 convolution even in a shortcut that keeps the shape.
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
    """True if the stream carries spikes, which the stem must produce and the head can read.
    Otherwise the stream is a membrane potential."""

    layers_around: ClassVar[tuple[int, int, int] | None] = None
    """Numbers of neuron layers in addition to those between the convolutions: at the start or end
    of the residual path, in a shortcut that has a convolution, and after the addition. None if the
    block does not define them; its networks then have no rollout."""

    has_shortcut: ClassVar[bool] = True
    """False for a block that has only a residual path."""

    def shortcut(self, x: jax.Array) -> jax.Array:
        """Returns the stream in the shape of the block's output."""
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
        """Applies the convolutions of the residual path, with neurons between them.

        Args:
          x: the stream.
          branch: the role of the last convolution, see `snnjax.models.layers.ConvNorm`.
          spikes_first: True for neurons before the first convolution, too.
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
        """Applies the neurons after the last convolution or after the addition."""
        return self.spike(name=f'spike{3 if self.bottleneck else 2}')(x)


class MSBlock(Block):
    """The membrane-shortcut block (figure 2a, right): ``x + conv(LIF(conv(LIF(x))))``.

    The stream through the shortcuts is real-valued: a membrane potential that no neuron gates
    (eq. 8). The convolutions of the residual path read spikes.
    """

    stream_of_spikes = False
    layers_around = (1, 0, 0)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.residual(x, spikes_first=True)
        return self.shortcut(x) + residual


class VanillaBlock(Block):
    """The block of ANNs, with neurons in place of ReLU (eq. 5): ``LIF(x + conv(LIF(conv(x))))``.

    With ``runtime_scale``, the normalization of Zheng et al. 2021, it is the block of that paper.
    """

    stream_of_spikes = True
    layers_around = (0, 0, 1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.residual(x)
        return self.last_spike(self.shortcut(x) + residual)


class PlainBlock(Block):
    """Two layers without a shortcut, as in PlainNet (figure 1): ``LIF(conv(LIF(conv(x))))``."""

    stream_of_spikes = True
    layers_around = (0, 0, 1)
    has_shortcut = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        return self.last_spike(self.residual(x, None))


class WithoutInterBlockLIF(Block):
    """The vanilla block without the neurons between blocks (table 2): ``x + conv(LIF(conv(x)))``.

    Its first convolution reads the real-valued stream (section 4.3).
    """

    stream_of_spikes = False
    layers_around = (0, 0, 0)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.residual(x)
        return self.shortcut(x) + residual


class LIFBeforeAdditionBlock(Block):
    """A block that adds the spikes of both branches: ``x + LIF(conv(LIF(conv(x))))``.

    The stream counts the spikes of the previous blocks, as in figure 4c of He et al. 2016. With
    integrate-and-fire neurons it is the spike-element-wise block of Fang et al. 2021, with ADD.
    """

    stream_of_spikes = True
    layers_around = (1, 1, 0)

    def connect(self, shortcut: jax.Array, residual: jax.Array) -> jax.Array:
        """Returns the stream from the spikes of both branches."""
        return shortcut + residual

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.last_spike(self.residual(x, 'spiking'))
        shortcut = self.shortcut(x)
        if shortcut is not x:
            shortcut = self.spike(name='shortcut_spike')(shortcut)
        return self.connect(shortcut, residual)


class SEWAndBlock(LIFBeforeAdditionBlock):
    """The spike-element-wise block with AND: a spike if both branches have one."""

    def connect(self, shortcut: jax.Array, residual: jax.Array) -> jax.Array:
        """Returns the product of the spikes of both branches."""
        return shortcut * residual


class SEWIandBlock(LIFBeforeAdditionBlock):
    """The spike-element-wise block with IAND: the shortcut's spike unless the residual has one."""

    def connect(self, shortcut: jax.Array, residual: jax.Array) -> jax.Array:
        """Returns ``shortcut AND NOT residual``."""
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
"""The block class of each kind of network. An ANN has the skeleton of MS-ResNet, with ReLU."""
