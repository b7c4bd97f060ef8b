"""VGGs (Simonyan & Zisserman 2015): convolutions in stages, pooling, fully connected layers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from snnjax.models.layers import ConvNorm
from snnjax.models.network import Network
from snnjax.models.pooling import (
    AdaptiveAveragePool,
    AveragePool,
    Flatten,
    GlobalAveragePool,
    MaxPool,
)

POOLINGS = ('max', 'average')


class VGG(Network):
    """Stages of 3x3 convolutions, each with pooling after it, then fully connected layers.

    Neurons or activations follow every layer but the last, and pooling follows them. The classifier
    reads the mean over time. The number of inputs of the first fully connected layer depends on the
    image size, unless ``grid`` fixes it.

    Attributes:
      blocks: the number of convolutions of each stage.
      widths: the number of channels of each stage.
      pooling: 'max' or 'average', over 2x2 pixels.
      pool_last: False for no pooling after the last stage.
      grid: the height and width to which the last activations are averaged
        (`snnjax.models.pooling.AdaptiveAveragePool`); 0 leaves them unchanged.
      hidden: the width of each fully connected layer before the classifier.
      normalize: False for no batch normalization.
      conv_bias: True for biases in convolutions.
      dense_bias: True for biases in fully connected layers and the classifier.
      conv_dropout: the share of the inputs of a convolution that training drops, except right after
        pooling. ``dropout`` is the same for fully connected layers, except the first.

    Other attributes are those of `snnjax.models.network.Network`.

    Raises:
      ValueError: if a pooling is unknown, a number is invalid, or ``blocks`` and ``widths`` differ
        in length.
    """

    blocks: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    pooling: str = 'max'
    pool_last: bool = True
    grid: int = 0
    hidden: tuple[int, ...] = (4096, 4096)
    normalize: bool = True
    conv_bias: bool = True
    dense_bias: bool = True
    conv_dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_names(pooling=POOLINGS)
        self._check_positive('blocks', 'widths')
        self._check_positive('hidden', largest=2**16)
        self._check_lengths('blocks', 'widths')
        if not 0 <= self.grid <= 2**10:
            raise ValueError(f'grid={self.grid} must be at least 0 and at most 1024')
        if not 0 <= self.conv_dropout < 1:
            raise ValueError(f'conv_dropout={self.conv_dropout} must be at least 0 and below 1')
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
          ValueError: if the rank, channels or time steps of the images do not fit the model, or
            they are too small for the pooling.
        """
        x, num_steps = self._stream(images)
        self.check_size(*images.shape[-3:-1])
        conv_norm = functools.partial(
            ConvNorm,
            train=train,
            threshold=self.threshold if self.is_spiking else 1.0,
            use_bias=self.conv_bias,
            normalize=self.normalize,
            dtype=self.dtype,
        )
        spike = self._spike(num_steps)

        i = 0
        pooled = True  # The images get no dropout, either.
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), start=1):
            for _ in range(count):
                i += 1
                if not pooled:
                    x = self.apply_dropout(x, train=train, share=self.conv_dropout)
                x = conv_norm(width, 3, name=f'conv{i}')(x)
                x = spike(name=f'spike{i}')(x)
                pooled = False
            if stage < len(self.blocks) or self.pool_last:
                pool: Any = AveragePool
                if self.pooling == 'max':
                    pool = functools.partial(MaxPool, gate=self._pool_gate)
                x = pool(2, name=f'pool{stage}')(x)
                pooled = True
        if not pooled:
            x = self.apply_dropout(x, train=train, share=self.conv_dropout)

        if self.grid:
            x = AdaptiveAveragePool(self.grid, name='grid')(x)
        x = Flatten(name='flatten')(x)
        dense = functools.partial(
            nn.Dense, use_bias=self.dense_bias, kernel_init=nn.initializers.normal(0.01)
        )
        for i, features in enumerate(self.hidden, start=1):
            x = dense(features, dtype=self.dtype, name=f'dense{i}')(x)
            x = spike(name=f'dense_spike{i}')(x)
            x = self.apply_dropout(x, train=train)
        x = self._answers(x)
        x = GlobalAveragePool(over_time=not self.step_logits, name='rates')(x)
        return dense(self.num_classes, name='classifier')(x)

    @property
    def default_image_size(self) -> int:
        """Returns the image size: 224 with a ``grid``, as in networks for ImageNet; else 32."""
        return 224 if self.grid else super().default_image_size

    @property
    def path_lengths(self) -> tuple[int, int]:
        """Returns the length of the only path, twice."""
        length = sum(self.blocks) + len(self.hidden) + 1
        return length, length

    @property
    def flattened(self) -> tuple[str, int]:
        """Returns the first fully connected layer, and the channels of the pixels it reads."""
        return 'dense1' if self.hidden else 'classifier', self.widths[-1]

    @property
    def _pool(self) -> int:
        """Returns the number of image pixels per pixel after pooling, along one axis."""
        return 2 ** (len(self.blocks) - (not self.pool_last))

    @nn.nowrap
    def image_size(self, params: Mapping[str, Any]) -> tuple[int, int]:
        """Returns an image size whose number of pixels after pooling fits the parameters."""
        if self.grid:
            return self.grid * self._pool, self.grid * self._pool
        layer, channels = self.flattened
        pixels = params[layer]['kernel'].shape[0] // channels if layer in params else 1
        return max(1, pixels) * self._pool, self._pool

    @nn.nowrap
    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError if pooling leaves no pixel of the images."""
        if min(height, width) < self._pool:
            raise ValueError(
                f'images of {height}x{width} are too small: pooling needs at least {self._pool} '
                f'pixels per side'
            )


_IMAGENET: dict[str, Any] = {
    'activation': 'relu',
    'num_classes': 1000,
    'grid': 7,
    'dropout': 0.5,
}

VGGS: dict[str, dict[str, Any]] = {
    'vgg16': {**_IMAGENET, 'normalize': False},
    'vgg16_bn': _IMAGENET,
    # One fully connected layer only. Biases are left out because normalization cancels them.
    'vgg16_cifar': {'activation': 'relu', 'conv_bias': False, 'hidden': ()},
    # Sengupta et al. 2019, following the code of the same laboratory.
    'sengupta_vgg16': {
        'activation': 'relu',
        'pooling': 'average',
        'pool_last': False,
        'normalize': False,
        'conv_bias': False,
        'dense_bias': False,
        'conv_dropout': 0.2,
        'dropout': 0.5,
    },
}
"""Options of `VGG` by network name."""
