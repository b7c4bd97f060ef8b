"""EfficientNets (Tan & Le 2019): inverted bottlenecks with depthwise convolutions and gates."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from snnjax.models.activations import ACTIVATIONS
from snnjax.models.convolution import Conv
from snnjax.models.layers import ConvNorm, dropout
from snnjax.models.network import Network, block_names
from snnjax.models.pooling import GlobalAveragePool

Layer = Callable[..., nn.Module]


class SqueezeExcite(nn.Module):
    """A layer that scales channels by attention over the means of all pixels (Hu et al. 2018)::

        x * gate(W2 spike(W1 mean(x) + b1) + b2)

    Attributes:
      hidden: the number of channels of the hidden layer.
      spike: a constructor of the neurons or activation after the first layer.
      gate: a constructor of the activation that computes the scales.
      dtype: the dtype of the computation; None for that of input and parameters.
    """

    hidden: int
    spike: Layer
    gate: Layer
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scales the channels of (B, T, H, W, C); returns the same shape."""
        scales = GlobalAveragePool(keep_pixel=True, name='pool')(x)
        conv = functools.partial(Conv, kernel_size=1, use_bias=True, dtype=self.dtype)
        scales = self.spike(name='spike')(conv(self.hidden, name='squeeze')(scales))
        return x * self.gate(name='gate')(conv(x.shape[-1], name='excite')(scales))


class InvertedBottleneck(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation, and projection without neurons.

    The input is added if it has the shape of the output.

    Attributes:
      features: the number of output channels.
      kernel_size: the height and width of the depthwise kernel.
      stride: the stride of the depthwise convolution.
      expansion: the ratio of inner channels to input channels; 1 leaves out the first convolution.
      conv_norm: a constructor ``(features, kernel_size, stride)`` of convolution and normalization.
      spike: a constructor of the neurons or activation after the first two convolutions.
      gate: a constructor of the activation that computes the scales of squeeze-and-excitation.
      skipped: the share of images that skip the block in training (stochastic depth).
      train: True in training.
      dtype: the dtype of squeeze-and-excitation; None for that of input and parameters.
    """

    features: int
    kernel_size: int
    stride: int
    expansion: int
    conv_norm: Layer
    spike: Layer
    gate: Layer
    skipped: float = 0.0
    train: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        inputs = x.shape[-1]
        inner = inputs * self.expansion
        y = x
        if self.expansion > 1:
            y = self.spike(name='spike1')(self.conv_norm(inner, 1, name='conv1')(y))
        y = self.conv_norm(inner, self.kernel_size, self.stride, groups=inner, name='conv2')(y)
        y = self.spike(name='spike2')(y)
        y = SqueezeExcite(
            max(1, inputs // 4), self.spike, self.gate, self.dtype, name='squeeze_excite'
        )(y)
        y = self.conv_norm(self.features, 1, name='conv3')(y)
        if self.stride > 1 or inputs != self.features:
            return y
        return x + dropout(y, self.skipped, train=self.train, alike=(1, 2, 3, 4))


class EfficientNet(Network):
    """A network of inverted bottlenecks.

    Spiking neurons or activations follow every convolution but the last of a block.
    Squeeze-and-excitation has gates, which stay activations in a spiking network.

    Attributes:
      blocks: the number of blocks of each stage.
      widths: the number of channels of each stage.
      strides: the stride of the first block of each stage.
      kernels: the size of the depthwise kernels of each stage.
      expansions: the expansion of the blocks of each stage, see `InvertedBottleneck`.
      stem_width: the number of channels of the stem, a 3x3 convolution of stride 2.
      head_width: the number of channels of the last convolution; 0 for four times the last width.
      stochastic_depth: the maximum share of images that skip a block in training. The share grows
        linearly from 0 at the first block and would reach the maximum one block after the last.
      norm_momentum: the share of the running statistics that an update keeps.
      norm_epsilon: the constant added to the variance.
      gate: the activation of squeeze-and-excitation, a key of
        `snnjax.models.activations.ACTIVATIONS`.
      resolution: the height and width of the images that the network was designed for.

    Other attributes are those of `snnjax.models.network.Network`; ``dropout`` applies before the
    classifier.

    Raises:
      ValueError: if a gate is unknown, a number is invalid, or the options of stages differ in
        length.
    """

    blocks: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    stem_width: int = 32
    head_width: int = 0
    stochastic_depth: float = 0.2
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    gate: str = 'sigmoid'
    resolution: int = 224

    def __post_init__(self) -> None:
        self._check_names(gate=ACTIVATIONS)
        stages = ('blocks', 'widths', 'strides', 'kernels', 'expansions')
        self._check_lengths(*stages)
        self._check_positive(*stages, 'stem_width', 'resolution')
        for option, expected, holds in (
            ('kernels', 'odd', all(size % 2 for size in self.kernels)),
            ('head_width', 'at least 0', self.head_width >= 0),
            ('stochastic_depth', 'at least 0 and below 1', 0 <= self.stochastic_depth < 1),
            ('norm_momentum', 'at least 0 and below 1', 0 <= self.norm_momentum < 1),
            ('norm_epsilon', 'above 0', self.norm_epsilon > 0),
        ):
            if not holds:
                raise ValueError(f'{option}={getattr(self, option)} must be {expected}')
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns the class scores of images.

        Args:
          images: a normalized float array of shape ``(B, H, W, C)``, or ``(B, T, H, W, C)`` for a
            sequence.
          train: True to normalize by batch statistics, to update ``batch_stats``, which must then
            be mutable, and to apply dropout with an rng 'dropout'.

        Returns:
          The logits of shape ``(B, num_classes)``, or ``(B, T, num_classes)`` with ``step_logits``;
          float32 (float64 for float64 images).

        Raises:
          TypeError: if the images are not floating-point.
          ValueError: if the rank, channels or time steps of the images do not fit the model.
        """
        x, num_steps = self._stream(images)
        spike = self._spike(num_steps)
        conv_norm = functools.partial(
            ConvNorm,
            train=train,
            threshold=self.threshold if self.is_spiking else 1.0,
            momentum=self.norm_momentum,
            epsilon=self.norm_epsilon,
            dtype=self.dtype,
        )
        block = functools.partial(
            InvertedBottleneck,
            conv_norm=conv_norm,
            spike=spike,
            gate=ACTIVATIONS[self.gate],
            train=train,
            dtype=self.dtype,
        )
        x = spike(name='spike')(conv_norm(self.stem_width, 3, 2, name='stem')(x))
        number, depth = 0, sum(self.blocks)
        for i, count in enumerate(self.blocks):
            of_stage = []
            for j in range(count):
                skipped = self.stochastic_depth * number / depth
                stride = self.strides[i] if j == 0 else 1
                of_stage.append(
                    functools.partial(
                        block,
                        self.widths[i],
                        self.kernels[i],
                        stride,
                        self.expansions[i],
                        skipped=skipped,
                    )
                )
                number += 1
            x = BlockSequence(tuple(of_stage), name=f'stage{i + 1}')(x)
        head_width = self.head_width or 4 * self.widths[-1]
        x = spike(name='head_spike')(conv_norm(head_width, 1, name='head')(x))
        x = GlobalAveragePool(over_time=not self.step_logits, name='head_pool')(x)
        x = self.apply_dropout(x, train=train)
        return nn.Dense(self.num_classes, kernel_init=_uniform, name='classifier')(x)

    @property
    def block_names(self) -> list[str]:
        """Returns the names of the blocks, ``stage1/block1``, in order."""
        return block_names(self.blocks)

    @property
    def default_image_size(self) -> int:
        """Returns the height and width of the images that the network was designed for."""
        return self.resolution


class BlockSequence(nn.Module):
    """A sequence of blocks.

    Attributes:
      blocks: the constructors of the blocks, which lack only a name.
    """

    blocks: tuple[Layer, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the blocks to (B, T, H, W, C); returns the output of the last one."""
        for i, block in enumerate(self.blocks, start=1):
            x = block(name=f'block{i}')(x)
        return x


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = None) -> jax.Array:
    """Draws weights (in, out) uniformly between plus and minus ``1 / sqrt(out)``."""
    limit = 1 / math.sqrt(shape[-1])
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def _divisible(channels: float) -> int:
    """Returns the nearest multiple of 8, but at least nine tenths of ``channels``."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _scaled(
    width: float, depth: float, resolution: int, dropout: float, **options: Any
) -> dict[str, Any]:
    """Returns the options of B0 with scaled widths and depths."""
    return {
        'activation': 'swish',
        'num_classes': 1000,
        'blocks': tuple(math.ceil(depth * number) for number in EfficientNet.blocks),
        'widths': tuple(_divisible(width * channels) for channels in EfficientNet.widths),
        'stem_width': _divisible(width * EfficientNet.stem_width),
        'resolution': resolution,
        'dropout': dropout,
        **options,
    }


_LARGE = {'norm_momentum': 0.99, 'norm_epsilon': 1e-3}

EFFICIENT_NETS: dict[str, dict[str, Any]] = {
    'efficientnet_b0': _scaled(1.0, 1.0, 224, 0.2),
    'efficientnet_b1': _scaled(1.0, 1.1, 240, 0.2),
    'efficientnet_b2': _scaled(1.1, 1.2, 260, 0.3),
    'efficientnet_b3': _scaled(1.2, 1.4, 300, 0.3),
    'efficientnet_b4': _scaled(1.4, 1.8, 380, 0.4),
    'efficientnet_b5': _scaled(1.6, 2.2, 456, 0.4, **_LARGE),
    'efficientnet_b6': _scaled(1.8, 2.6, 528, 0.5, **_LARGE),
    'efficientnet_b7': _scaled(2.0, 3.1, 600, 0.5, **_LARGE),
}
"""Options of `EfficientNet` by network name. The normalization options are torchvision's."""
