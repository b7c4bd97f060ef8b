"""Networks without shortcuts: convolutions, then fully connected layers, all of them spiking."""

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

    The last layer has several neurons for each class, which vote: a logit is their firing rate, a
    number of 0 to 1, and training is meant for the loss 'mse' (see `snnjax.train.losses`).

    Normalisation starts at scale 1, whatever the threshold, as its authors have it. How many inputs
    the first fully connected layer has depends on the size of the images, and attention on the
    number of time steps; both are those that the variables were made for.

    Attributes:
      channels: of each convolution.
      pools: size of the pooling after each convolution; 1 for none.
      pooling: 'max', of spikes; or 'average', of the current, before the neurons.
      hidden: neurons of each fully connected layer but the last.
      voters: neurons of the last layer for each class.
      dense_norm: normalise the currents of the fully connected layers, too.
      attention: what the number of time steps is divided by in the hidden layer of a
        `TemporalAttention` before all neurons; 0 for no attention.

    Other attributes are those of `snnjax.models.network.Network`; ``dropout`` is before each fully
    connected layer.

    Raises:
      ValueError: when built with an unknown pooling, or numbers that cannot be or do not agree.
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
        """Class scores of images.

        Args:
          images: normalised, floating, ``(B, H, W, C)``, or ``(B, T, H, W, C)`` where they change
            over time.
          train: normalise by this batch, and update ``batch_stats``, which must then be mutable.

        Returns:
          Firing rates ``(B, num_classes)``, or the shares of votes in each time step ``(B, T,
          num_classes)`` with ``step_logits``; float32 (float64 for float64 images).

        Raises:
          TypeError: for images that are not floating.
          ValueError: for images of another rank, channel count or number of time steps, or too
            small for the pooling.
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
                x = MaxPool(pool, by_count=self._is_rate_coded, name=f'pool{i}')(x)

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
        """A chain has one path; attention looks at all time steps, so that it has no rollout."""
        length = len(self.channels) + len(self.hidden) + 2
        return None if self.attention else (length, length)

    @nn.nowrap
    def image_size(self, params: Mapping[str, Any]) -> tuple[int, int]:
        """Height and width of images that parameters fit: those with as many pixels when pooled."""
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
        """Raises ValueError for images of which pooling leaves nothing."""
        size = f'{height}x{width}'
        for pool in self.pools:
            height, width = height // pool, width // pool
        if not height or not width:
            raise ValueError(
                f'images of {size} are too small for pools={self.pools}: nothing is left of them'
            )
