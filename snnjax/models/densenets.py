"""Densely connected networks (Huang et al. 2017), sized for event cameras."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax

from snnjax.models.layers import ConvNorm
from snnjax.models.network import Network
from snnjax.models.pooling import AveragePool, Concatenate, GlobalAveragePool, MaxPool

POOLINGS = {'max': MaxPool, 'average': AveragePool}


class DenseNet(Network):
    """A stem, then layers that each read the outputs of all previous layers.

    A layer is a 3x3 convolution with normalization, and neurons or an activation. The outputs of
    all previous layers are pooled between stages, and the classifier reads the means of all of
    them.

    There are paths of every length from that of the stem alone to that of all layers, and a rollout
    responds after each length. The design follows Kugele et al. 2020, who do not publish their own
    lists of layers.

    Attributes:
      image_pool: the size of the average pooling before the stem; 1 for none.
      stem_width: the number of channels of the stem, a 3x3 convolution.
      stem_stride: the stride of the stem.
      blocks: the number of layers of each stage.
      widths: the number of channels of each layer of a stage.
      pools: the size of the pooling before each stage; 1 for none.
      pooling: 'max' or 'average'.

    Other attributes are those of `snnjax.models.network.Network`; ``dropout`` applies before the
    classifier.

    Raises:
      ValueError: if a pooling is unknown, a number is invalid, or the options of stages differ in
        length.
    """

    image_pool: int = 1
    stem_width: int = 16
    stem_stride: int = 2
    blocks: tuple[int, ...] = (3, 3, 4)
    widths: tuple[int, ...] = (12, 24, 56)
    pools: tuple[int, ...] = (2, 2, 1)
    pooling: str = 'max'

    def __post_init__(self) -> None:
        self._check_names(pooling=POOLINGS)
        self._check_positive('image_pool', 'stem_width', 'stem_stride', 'blocks', 'widths', 'pools')
        self._check_lengths('blocks', 'widths', 'pools')
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns the class scores of images.

        Args:
          images: a normalized float array of shape ``(B, H, W, C)``, or ``(B, T, H, W, C)`` for a
            sequence.
          train: True to normalize by batch statistics and to update ``batch_stats``, which must
            then be mutable.

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
            dtype=self.dtype,
        )
        spike = self._spike(num_steps)
        pool: Any = POOLINGS[self.pooling]
        if self.pooling == 'max':
            pool = functools.partial(MaxPool, gate=self._pool_gate)

        if self.image_pool > 1:
            x = AveragePool(self.image_pool, name='image_pool')(x)
        x = conv_norm(self.stem_width, 3, self.stem_stride, name='stem')(x)
        x = spike(name='spike')(x)
        stages = zip(self.blocks, self.widths, self.pools, strict=True)
        for stage, (count, width, size) in enumerate(stages, start=1):
            if size > 1:
                x = pool(size, name=f'pool{stage}')(x)
            for layer in range(1, count + 1):
                place = f'{stage}_{layer}'
                y = conv_norm(width, 3, name=f'conv{place}')(x)
                y = spike(name=f'spike{place}')(y)
                x = Concatenate(name=f'join{place}')([x, y])
        x = self._answers(x)
        rates = GlobalAveragePool(over_time=not self.step_logits, name='head_pool')(x)
        rates = self.apply_dropout(rates, train=train)
        return nn.Dense(self.num_classes, name='classifier')(rates)

    @property
    def path_lengths(self) -> tuple[int, int]:
        """Returns the number of edges through the stem alone and through all layers."""
        return 2, 2 + sum(self.blocks)

    @nn.nowrap
    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError if pooling leaves no pixel of the images."""
        size = f'{height}x{width}'
        height, width = height // self.image_pool, width // self.image_pool
        height, width = -(-height // self.stem_stride), -(-width // self.stem_stride)
        for pool in self.pools:
            height, width = height // pool, width // pool
        if not height or not width:
            raise ValueError(
                f'images of {size} are too small for image_pool={self.image_pool}, '
                f'stem_stride={self.stem_stride} and pools={self.pools}: pooling leaves no pixel'
            )


_EVENTS: dict[str, Any] = {'activation': 'relu', 'in_channels': 2}

DENSE_NETS: dict[str, dict[str, Any]] = {
    # The first is for images of 34x34 pixels (N-MNIST), the second for 128x128.
    'densenet': _EVENTS,
    'densenet_dvs': {**_EVENTS, 'image_pool': 2, 'pools': (2, 2, 2)},
}
"""Options of `DenseNet` by network name."""
