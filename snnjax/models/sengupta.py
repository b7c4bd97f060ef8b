"""ResNets without normalization and without biases (Sengupta et al. 2019)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from snnjax.models.blocks import VanillaBlock
from snnjax.models.layers import ConvNorm, dropout
from snnjax.models.network import Network, block_names
from snnjax.models.pooling import AveragePool, Flatten, GlobalAveragePool
from snnjax.models.resnets import Stage


class PlainConv(ConvNorm):
    """A convolution without normalization; the second of a residual path has dropout before it.

    Attributes:
      share: the share of inputs that training drops.
    """

    share: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        if self.branch == 'residual':
            x = dropout(x, self.share, train=self.train, alike=(1,))
        return super().__call__(x)


class SenguptaResNet(Network):
    """A residual network of convolutions without normalization or biases.

    The stem is three 3x3 convolutions, each with neurons or an activation, and averages 2x2 pixels.
    Blocks are those of `snnjax.models.blocks.VanillaBlock`, and a shortcut that changes the shape
    is a 1x1 convolution. Unless ``average_head`` is set, there is no pooling before the classifier,
    so the number of its inputs depends on the image size.

    Attributes:
      blocks: the number of blocks of each stage.
      widths: the number of channels of each stage; the stem has the first.
      strides: the stride of the first block of each stage.
      stem_stride: the stride of the stem's first convolution.
      average_head: True to average all pixels before the classifier.
      conv_dropout: the share of inputs that training drops before the second and third convolution
        of the stem and the second convolution of each block.

    Other attributes are those of `snnjax.models.network.Network`; ``dropout`` applies before the
    classifier.

    Raises:
      ValueError: if a number is invalid or the options of stages differ in length.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    stem_stride: int = 1
    average_head: bool = False
    conv_dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_lengths('blocks', 'widths', 'strides')
        if not 0 <= self.conv_dropout < 1:
            raise ValueError(f'conv_dropout={self.conv_dropout} must be at least 0 and below 1')
        self._check_positive('blocks', 'widths', 'strides', 'stem_stride')
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns the class scores of images.

        Args:
          images: a normalized float array of shape ``(B, H, W, C)``, or ``(B, T, H, W, C)`` for a
            sequence.
          train: True to apply dropout, with an rng 'dropout'.

        Returns:
          The logits of shape ``(B, num_classes)``, or ``(B, T, num_classes)`` with ``step_logits``;
          float32 (float64 for float64 images).

        Raises:
          TypeError: if the images are not floating-point.
          ValueError: if the rank, channels or time steps of the images do not fit the model, or
            they are too small for the pooling.
        """
        x, num_steps = self._stream(images)
        self.check_size(*images.shape[-3:-1])
        spike = self._spike(num_steps)
        conv = functools.partial(
            PlainConv, train=train, normalize=False, share=self.conv_dropout, dtype=self.dtype
        )
        for i, stride in enumerate((self.stem_stride, 1, 1), start=1):
            if i > 1:
                x = self.apply_dropout(x, train=train, share=self.conv_dropout)
            x = conv(self.widths[0], 3, stride, name=f'conv{i}')(x)
            x = spike(name=f'spike{i}')(x)
        x = AveragePool(2, name='pool')(x)
        block = functools.partial(VanillaBlock, conv_norm=conv, spike=spike)
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for i, (num_blocks, width, stride) in enumerate(stages, start=1):
            x = Stage(num_blocks, width, stride, block, name=f'stage{i}')(x)
        if self.average_head:
            x = GlobalAveragePool(keep_pixel=True, name='head_pool')(x)
        x = Flatten(name='flatten')(x)
        x = self._answers(x)
        x = GlobalAveragePool(over_time=not self.step_logits, name='rates')(x)
        x = self.apply_dropout(x, train=train)
        return nn.Dense(
            self.num_classes,
            use_bias=False,
            kernel_init=nn.initializers.normal(0.01),
            name='classifier',
        )(x)

    @property
    def path_lengths(self) -> tuple[int, int]:
        """Returns the number of edges through all shortcuts and through all residual paths."""
        return 4 + sum(self.blocks), 4 + 2 * sum(self.blocks)

    @property
    def block_names(self) -> list[str]:
        """Returns the names of the blocks, ``stage1/block1``, in order."""
        return block_names(self.blocks)

    @property
    def default_image_size(self) -> int:
        """Returns the image size: 32 for CIFAR, 224 with a stride in the stem."""
        return 224 if self.stem_stride > 1 else super().default_image_size

    @nn.nowrap
    def image_size(self, params: Mapping[str, Any]) -> tuple[int, int]:
        """Returns an image size whose number of pixels at the end fits the parameters."""
        layer, channels = self.flattened
        pixels = params[layer]['kernel'].shape[0] // channels if layer in params else 1
        return max(1, pixels) * self._reduction, self._reduction

    @property
    def flattened(self) -> tuple[str, int]:
        """Returns the classifier, and the channels of the pixels it reads."""
        return 'classifier', self.widths[-1]

    @property
    def _reduction(self) -> int:
        """Returns the image pixels per final pixel along one axis, also the smallest image size."""
        reduction = 2 * self.stem_stride
        for stride in self.strides:
            reduction *= stride
        return reduction

    @nn.nowrap
    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError if pooling leaves no pixel of the images."""
        if min(height, width) < 2 * self.stem_stride:
            raise ValueError(
                f'images of {height}x{width} are too small: the stem needs at least '
                f'{2 * self.stem_stride} pixels per side'
            )


SENGUPTA_RESNETS: dict[str, dict[str, Any]] = {
    'sengupta_resnet20': {'activation': 'relu', 'conv_dropout': 0.2},
    # The same stem and blocks for ImageNet. Strides and head are choices of this package.
    'sengupta_resnet34': {
        'activation': 'relu',
        'conv_dropout': 0.2,
        'num_classes': 1000,
        'blocks': (3, 4, 6, 3),
        'stem_stride': 2,
        'average_head': True,
    },
}
"""Options of `SenguptaResNet` by network name."""
