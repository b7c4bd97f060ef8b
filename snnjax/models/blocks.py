"""Residual blocks. Each takes and gives the network's stream, ``(B, T, H, W, C)``.

A block is built with two layers that are complete but for their place in it:
``conv_norm(features, kernel_size, stride, branch)`` and ``spike()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax

from snnjax.models.layers import average_pool

Layer = Callable[..., nn.Module]


class Block(nn.Module):
    """What all blocks have in common.

    Attributes:
      features: output channels.
      stride: of the first convolution.
      conv_norm: convolution and normalisation, see the module.
      spike: neurons, see the module.
      project_shortcut: a shortcut that changes the resolution only has a 1x1 convolution; if false,
        it averages pixels. One that changes the width has a convolution in any case.
      avgpool_shortcut: average pixels and convolve at stride 1 in a shortcut, instead of convolving
        at the block's stride, which leaves out pixels (B.3).
      spiking_shortcut: neurons before the shortcut's convolution, which then sees spikes.
    """

    features: int
    stride: int
    conv_norm: Layer
    spike: Layer
    project_shortcut: bool = True
    avgpool_shortcut: bool = False
    spiking_shortcut: bool = False

    stream_of_spikes: ClassVar[bool]
    """Whether the stream is spikes, which the stem has to make and the head can read; otherwise it
    is a membrane potential."""

    def shortcut(self, x: jax.Array) -> jax.Array:
        """The stream, brought to the shape of the block's output."""
        same_width = x.shape[-1] == self.features
        if self.stride == 1 and same_width:
            return x
        if same_width and not self.project_shortcut:
            return average_pool(x, self.stride)
        if self.spiking_shortcut:
            x = self.spike(name='shortcut_spike')(x)
        stride = self.stride
        if self.avgpool_shortcut and stride > 1:
            x, stride = average_pool(x, stride), 1
        return self.conv_norm(self.features, 1, stride, 'shortcut', name='shortcut')(x)


class MSBlock(Block):
    """The membrane-shortcut block (figure 2a, right): ``x + conv(LIF(conv(LIF(x))))``.

    The stream that runs through the shortcuts is real-valued, a membrane potential that no neuron
    gates (eq. 8); what the 3x3 convolutions see are spikes.
    """

    stream_of_spikes = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.spike(name='spike1')(x)
        residual = self.conv_norm(self.features, 3, self.stride, name='conv1')(residual)
        residual = self.spike(name='spike2')(residual)
        residual = self.conv_norm(self.features, 3, 1, 'residual', name='conv2')(residual)
        return self.shortcut(x) + residual


class VanillaBlock(Block):
    """The block of ANNs, with neurons for ReLU (eq. 5): ``LIF(x + conv(LIF(conv(x))))``."""

    stream_of_spikes = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.conv_norm(self.features, 3, self.stride, name='conv1')(x)
        residual = self.spike(name='spike1')(residual)
        residual = self.conv_norm(self.features, 3, 1, 'residual', name='conv2')(residual)
        return self.spike(name='spike2')(self.shortcut(x) + residual)


class PlainBlock(Block):
    """Two layers without a shortcut, PlainNet (figure 1): ``LIF(conv(LIF(conv(x))))``."""

    stream_of_spikes = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        x = self.conv_norm(self.features, 3, self.stride, name='conv1')(x)
        x = self.spike(name='spike1')(x)
        x = self.conv_norm(self.features, 3, name='conv2')(x)
        return self.spike(name='spike2')(x)


class WithoutInterBlockLIF(Block):
    """The vanilla block without the neurons between blocks (table 2): ``x + conv(LIF(conv(x)))``.

    Its first convolution sees the real-valued stream (section 4.3).
    """

    stream_of_spikes = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.conv_norm(self.features, 3, self.stride, name='conv1')(x)
        residual = self.spike(name='spike1')(residual)
        residual = self.conv_norm(self.features, 3, 1, 'residual', name='conv2')(residual)
        return self.shortcut(x) + residual


class LIFBeforeAdditionBlock(Block):
    """Both branches end in neurons, and spikes are added: ``x + LIF(conv(LIF(conv(x))))``.

    The stream counts the spikes of the blocks before it, as in He et al. 2016, figure 4c.
    """

    stream_of_spikes = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.conv_norm(self.features, 3, self.stride, name='conv1')(x)
        residual = self.spike(name='spike1')(residual)
        residual = self.conv_norm(self.features, 3, name='conv2')(residual)
        residual = self.spike(name='spike2')(residual)
        shortcut = self.shortcut(x)
        if shortcut is not x:
            shortcut = self.spike(name='shortcut_spike')(shortcut)
        return shortcut + residual


BLOCKS: dict[str, type[Block]] = {
    'ms': MSBlock,
    'vanilla': VanillaBlock,
    'plain': PlainBlock,
    'wo_lif': WithoutInterBlockLIF,
    'lif_before_add': LIFBeforeAdditionBlock,
    'ann': MSBlock,
}
"""Blocks by the kind of the network. An ANN has the skeleton of MS-ResNet, with ReLU."""
