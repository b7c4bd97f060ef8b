"""Spiking networks without shortcuts: convolutions, then fully connected layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.models.layers import TDBN, ConvNorm, TemporalAttention
from snnjax.models.network import Network
from snnjax.models.pooling import AveragePool, Flatten, MaxPool
from snnjax.neurons.precision import at_least_float32

POOLINGS = ('max', 'average')


class ConvNet(Network):
    """3x3 convolutions with neurons and pooling, then fully connected layers with neurons.

    The last layer has several neurons per class, which vote. A logit is their firing rate, from 0
    to 1, and the loss for training is 'mse' (`snnjax.train.losses`).

    Normalization starts at scale 1 for every threshold, following the authors. The inputs of the
    first fully connected layer depend on the image size, and attention on the number of time steps.
    The variables fit only the size and the number that they were created for.

    Attributes:
      channels: the number of channels of each convolution.
      pools: the size of the pooling after each convolution; 1 for none.
      pooling: 'max' to pool spikes, or 'average' to pool the current before the neurons.
      hidden: the number of neurons of each fully connected layer but the last.
      voters: the number of neurons per class in the last layer.
      dense_norm: True to normalize the currents of the fully connected layers, too.
      attention: the ratio of time steps to hidden units in the `TemporalAttention` before all
        neurons; 0 for no attention.

    Other attributes are those of `snnjax.models.network.Network`; ``dropout`` applies before each
    fully connected layer.

    Raises:
      ValueError: if a pooling is unknown, a number is invalid, or ``channels`` and ``pools`` differ
        in length.
    """

    channels: tuple[int, ...] = (128, 128)
    pools: tuple[int, ...] = (2, 2)
    pooling: str = 'max'
    hidden: tuple[int, ...] = (2048,)
    voters: int = 10
    dense_norm: bool = False
    attention: int = 0

    def __post_init__(self) -> None:
        self._check_names(pooling=POOLINGS)
        self._check_positive('channels', 'pools', 'voters')
        self._check_positive('hidden', largest=2**16)
        self._check_lengths('channels', 'pools', of='convolution')
        if self.attention < 0:
            raise ValueError(f'attention={self.attention} must be at least 0')
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
          The firing rates of shape ``(B, num_classes)``, or with ``step_logits`` the shares of
          votes in each time step, ``(B, T, num_classes)``; float32 (float64 for float64 images).

        Raises:
          TypeError: if the images are not floating-point.
          ValueError: if the rank, channels or time steps of the images do not fit the model, or
            they are too small for the pooling.
        """
        x, num_steps = self._stream(images)
        self.check_size(*images.shape[-3:-1])
        conv_norm = functools.partial(ConvNorm, train=train, threshold=1.0, dtype=self.dtype)
        spike = self._spike(num_steps)

        for i, (channels, pool) in enumerate(zip(self.channels, self.pools, strict=True), start=1):
            x = conv_norm(channels, 3, name=f'conv{i}')(x)
            if self.pooling == 'average' and pool > 1:
                x = AveragePool(pool, name=f'pool{i}')(x)
            x = self._attend(x, num_steps, f'attention{i}')
            x = spike(name=f'spike{i}')(x)
            if self.pooling == 'max' and pool > 1:
                x = MaxPool(pool, gate=self._pool_gate, name=f'pool{i}')(x)

        x = Flatten(name='flatten')(x)
        layers = (*self.hidden, self.num_classes * self.voters)
        for i, features in enumerate(layers, start=1):
            x = self.apply_dropout(x, train=train)
            x = nn.Dense(features, use_bias=False, dtype=self.dtype, name=f'dense{i}')(x)
            if self.dense_norm:
                x = TDBN(train, initial_scale=1.0, name=f'dense_norm{i}')(x)
            x = self._attend(x, num_steps, f'dense_attention{i}')
            x = spike(name=f'dense_spike{i}')(x)

        x = self._answers(x)
        votes = jnp.squeeze(x, (2, 3)).reshape(*x.shape[:2], self.num_classes, self.voters)
        axes = -1 if self.step_logits else (1, -1)
        return jnp.mean(votes, axis=axes, dtype=at_least_float32(x.dtype))

    @property
    def path_lengths(self) -> tuple[int, int] | None:
        """Returns the length of the only path, twice; None with attention.

        Attention reads all time steps, so a network with it has no rollout.
        """
        length = len(self.channels) + len(self.hidden) + 2
        return None if self.attention else (length, length)

    @nn.nowrap
    def image_size(self, params: Mapping[str, Any]) -> tuple[int, int]:
        """Returns an image size whose number of pixels after pooling fits the parameters."""
        pool = math.prod(self.pools)
        pixels = (
            params['dense1']['kernel'].shape[0] // self.channels[-1] if 'dense1' in params else 1
        )
        return pixels * pool, pool

    @nn.nowrap
    def _attend(self, x: jax.Array, num_steps: int, name: str) -> jax.Array:
        if not self.attention:
            return x
        hidden = max(1, num_steps // self.attention)
        return TemporalAttention(num_steps, hidden, name=name)(x)

    @nn.nowrap
    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError if pooling leaves no pixel of the images."""
        size = f'{height}x{width}'
        for pool in self.pools:
            height, width = height // pool, width // pool
        if not height or not width:
            raise ValueError(
                f'images of {size} are too small for pools={self.pools}: pooling leaves no pixel'
            )
