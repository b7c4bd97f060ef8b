"""The residual network: stem, stages of blocks, head."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.models.blocks import Layer, MSBlock
from snnjax.models.layers import LIF, ConvNorm
from snnjax.neurons import lif

DEFAULT_NUM_STEPS = 6
"""Time steps that a static image is presented for where nothing is said: the paper's (B.3)."""


class ResNet(nn.Module):
    """A deep residual spiking network (tables 1 and 7).

    The head is a layer of neurons, the mean over space and time of its spikes, and a linear
    classifier. A static image is constant in time until the first neurons have seen it, so the stem
    runs once for it, with the gradient of all time steps.

    Attributes:
      num_classes: logits per image.
      num_steps: time steps T a static image is presented for; None means 6. A sequence brings its
        own T, which must agree if this is given.
      in_channels: channels of the images.
      blocks: number of blocks of each stage.
      widths: channels of each stage; the stem has the first.
      strides: stride of the first block of each stage.
      strict: fire at ``u > V_th`` rather than ``>=``, see `snnjax.neurons.lif`.
      detach_reset: no gradient through the reset, see `snnjax.neurons.lif`.
      dtype: of activations and convolutions; None follows the images. Parameters, statistics and
        membrane potentials are float32 all the same.
    """

    num_classes: int = 10
    num_steps: int | None = None
    in_channels: int = 3
    blocks: tuple[int, ...] = (3, 3, 3)
    widths: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (1, 2, 2)
    strict: bool = False
    detach_reset: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Class scores of images.

        Args:
          images: normalised, floating, ``(B, H, W, C)``, or ``(B, T, H, W, C)`` where they change
            over time.
          train: normalise by this batch, and update ``batch_stats``, which must then be mutable.

        Returns:
          Logits ``(B, num_classes)``, float32 (float64 for float64 images).

        Raises:
          TypeError: for images that are not floating.
          ValueError: for images of another rank, channel count or number of time steps.
        """
        x, num_steps = self._stream(images)
        conv_norm = functools.partial(ConvNorm, train=train, dtype=self.dtype)
        neuron = functools.partial(lif, strict=self.strict, detach_reset=self.detach_reset)
        spike = functools.partial(LIF, num_steps, neuron)

        x = conv_norm(self.widths[0], 3, name='stem')(x)
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for i, (num_blocks, width, stride) in enumerate(stages, start=1):
            x = Stage(num_blocks, width, stride, conv_norm, spike, name=f'stage{i}')(x)
        x = spike(name='spike')(x)
        rates = jnp.mean(x, axis=(1, 2, 3), dtype=jnp.promote_types(x.dtype, jnp.float32))
        return nn.Dense(self.num_classes, name='classifier')(rates)

    def _stream(self, images: jax.Array) -> tuple[jax.Array, int]:
        """Checks the images; gives them a time axis, and the number of time steps."""
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f'images must be floating and normalised, got {images.dtype}')
        if images.ndim not in (4, 5):
            raise ValueError(f'images must be (B, H, W, C) or (B, T, H, W, C), got {images.shape}')
        if images.shape[-1] != self.in_channels:
            raise ValueError(
                f'images of shape {images.shape} have {images.shape[-1]} channels, the model has '
                f'in_channels={self.in_channels}'
            )
        images = images.astype(self.dtype or images.dtype)
        if images.ndim == 4:
            return images[:, None], self.num_steps or DEFAULT_NUM_STEPS
        if self.num_steps not in (None, images.shape[1]):
            raise ValueError(
                f'images of shape {images.shape} have {images.shape[1]} time steps, the model has '
                f'num_steps={self.num_steps}'
            )
        return images, images.shape[1]


class Stage(nn.Module):
    """Blocks of one width; the first changes the resolution by ``stride``."""

    num_blocks: int
    features: int
    stride: int
    conv_norm: Layer
    spike: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        for i in range(1, self.num_blocks + 1):
            stride = self.stride if i == 1 else 1
            x = MSBlock(self.features, stride, self.conv_norm, self.spike, name=f'block{i}')(x)
        return x
