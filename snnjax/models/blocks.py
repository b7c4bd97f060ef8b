"""Residual blocks. Each takes and gives the network's stream, ``(B, T, H, W, C)``.

A block is told its width, its stride, and the two layers to build with: ``conv_norm(features,
kernel_size, stride)`` and ``spike()``, both complete but for those arguments.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax

Layer = Callable[..., nn.Module]


class MSBlock(nn.Module):
    """The membrane-shortcut block (figure 2a, right): ``x + conv(LIF(conv(LIF(x))))``.

    The stream that runs through the shortcuts is real-valued, a membrane potential that no neuron
    gates (eq. 8); what the 3x3 convolutions see are spikes.

    Attributes:
      features: output channels.
      stride: of the first convolution; the shortcut then is a 1x1 convolution of the same stride.
      conv_norm: convolution and normalisation, see the module.
      spike: neurons, see the module.
    """

    features: int
    stride: int
    conv_norm: Layer
    spike: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.spike(name='spike1')(x)
        residual = self.conv_norm(self.features, 3, self.stride, name='conv1')(residual)
        residual = self.spike(name='spike2')(residual)
        residual = self.conv_norm(self.features, 3, name='conv2')(residual)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = self.conv_norm(self.features, 1, self.stride, name='shortcut')(x)
        return x + residual
