"""Residual networks: stem, stages of blocks, head."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, Self

import flax.linen as nn
import jax

from snnjax.models.blocks import BLOCKS, Block, Layer
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, ConvNorm
from snnjax.models.network import Network, block_names
from snnjax.models.pooling import GlobalAveragePool, MaxPool

STEMS = {'conv3': 3, 'conv7': 7, 'conv3x3x3': 3}
"""Kernel sizes by the name of the stem."""

REMATERIALIZATION: dict[str, Any] = {
    'nothing': None,
    'elementwise': jax.checkpoint_policies.save_only_these_names(
        'convolution', 'moments', 'spikes'
    ),
    'blocks': jax.checkpoint_policies.nothing_saveable,
}
"""Rematerialization policies by name. The backward pass computes again either nothing; all of a
block except convolutions, their moments and the packed spikes; or the whole block."""


class ResNet(Network):
    """A deep residual spiking network (tables 1, 7 and 8), or one of its baselines.

    The head averages spikes over space and time and applies a linear classifier. The variables do
    not depend on the number of time steps: those trained at T = 1 run at any T.

    Attributes:
      kind: the kind of blocks, a key of `snnjax.models.blocks.BLOCKS`. An ANN computes a static
        image once.
      stem: 'conv3' or 'conv7' for one convolution of that size, or 'conv3x3x3' for three of size 3
        with biases; one normalization follows.
      stem_stride: the stride of the stem's first convolution.
      max_pool: True for 3x3 max pooling at stride 2 after the stem and its neurons, if it has any.
      blocks: the number of blocks of each stage.
      widths: the number of channels of each stage; the stem has the first. In bottlenecks they are
        a quarter of the channels of the stream.
      strides: the stride of the first block of each stage.
      bottleneck: True for bottlenecks, see `snnjax.models.blocks.Block`.
      project_shortcut: True for convolutions in shortcuts that change only the resolution, see
        `snnjax.models.blocks.Block`.
      avgpool_shortcut: True to average pixels in shortcuts, see `snnjax.models.blocks.Block`.
      spiking_shortcut: True for neurons in shortcuts, see `snnjax.models.blocks.Block`.
      pad_shortcut: True for shortcuts without parameters, see `snnjax.models.blocks.Block`.
      project_first: True for a 1x1 convolution in the first shortcut of every stage, even if it
        keeps the shape (Hu et al. 2021).
      zero_init_residual: True to start the last scale of each residual path at 0 (B.3).
      hidden: the number of neurons of each fully connected layer before the classifier.
      runtime_scale: True to normalize with a factor ``alpha * V_th`` at run time, see
        `snnjax.models.layers.ConvNorm`.
      scan_layers: True to compile a stage's repeated blocks once, over parameters stacked along a
        leading axis (`snnjax.models.params`); 'auto' for True except on CPUs, which are slow at
        convolutions in a loop.
      remat: the values that the backward pass computes again, a key of `REMATERIALIZATION`.

    Other attributes are those of `snnjax.models.network.Network`.

    Raises:
      ValueError: if a kind, stem or surrogate is unknown, the options of stages differ in length,
        the shortcuts do not support an option, or a number or dtype is invalid.
    """

    kind: str = 'ms'
    stem: str = 'conv3'
    stem_stride: int = 1
    max_pool: bool = False
    blocks: tuple[int, ...] = (3, 3, 3)
    widths: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (1, 2, 2)
    bottleneck: bool = False
    project_shortcut: bool = True
    avgpool_shortcut: bool = False
    spiking_shortcut: bool = False
    pad_shortcut: bool = False
    project_first: bool = False
    zero_init_residual: bool = False
    hidden: tuple[int, ...] = ()
    runtime_scale: bool = False
    scan_layers: bool | Literal['auto'] = False
    remat: str = 'nothing'

    def __post_init__(self) -> None:
        self._check_names(kind=BLOCKS, stem=STEMS, remat=REMATERIALIZATION)
        self._check_lengths('blocks', 'widths', 'strides')
        if self.spiking_shortcut and BLOCKS[self.kind].stream_of_spikes:
            raise ValueError(
                f"spiking_shortcut: the shortcuts of kind '{self.kind}' see spikes already; set "
                f'spiking_shortcut to false'
            )
        if self.pad_shortcut and (self.project_first or self.avgpool_shortcut):
            raise ValueError(
                'pad_shortcut: padded shortcuts neither project nor average; set project_first and '
                'avgpool_shortcut to false'
            )
        if self.zero_init_residual and self.kind == 'sew_and':
            raise ValueError(
                "zero_init_residual: nothing would ever fire in blocks of 'sew_and'; set "
                'zero_init_residual to false'
            )
        if self.scan_layers not in (True, False, 'auto'):
            raise ValueError(f"scan_layers={self.scan_layers!r} must be true, false or 'auto'")
        self._check_positive('stem_stride', 'blocks', 'widths', 'strides')
        self._check_positive('hidden', largest=2**16)
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
          ValueError: if the rank, channels or time steps of the images do not fit the model, or a
            pooling shortcut cannot halve their size.
        """
        x, num_steps = self._stream(images)
        conv_norm = self._conv_norm(train)
        spike = self._spike(num_steps)
        policy, block_type = REMATERIALIZATION[self.remat], BLOCKS[self.kind]
        block = functools.partial(
            nn.remat(block_type, policy=policy) if policy else block_type,
            conv_norm=conv_norm,
            spike=spike,
            bottleneck=self.bottleneck,
            project_shortcut=self.project_shortcut,
            avgpool_shortcut=self.avgpool_shortcut,
            spiking_shortcut=self.spiking_shortcut,
            pad_shortcut=self.pad_shortcut,
        )
        stream_of_spikes = block_type.stream_of_spikes

        x = self._stem(conv_norm, train)(x)
        if stream_of_spikes:
            x = spike(name='spike')(x)
        if self.max_pool:
            x = MaxPool(3, 2, self._pool_gate if stream_of_spikes else '', name='max_pool')(x)
        expansion = 4 if self.bottleneck else 1
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for i, (num_blocks, width, stride) in enumerate(stages, start=1):
            x = Stage(
                num_blocks,
                width * expansion,
                stride,
                block,
                self.scans_layers,
                self.project_first,
                name=f'stage{i}',
            )(x)
        if not stream_of_spikes:
            x = spike(name='spike')(x)
        if self.hidden:
            x = GlobalAveragePool(keep_pixel=True, name='head_pool')(x)
        for i, features in enumerate(self.hidden, start=1):
            x = nn.Dense(features, dtype=self.dtype, name=f'dense{i}')(x)
            x = spike(name=f'dense_spike{i}')(x)
        x = self._answers(x)
        over_time = not self.step_logits
        rates = GlobalAveragePool(over_time, name='rates' if self.hidden else 'head_pool')(x)
        rates = self.apply_dropout(rates, train=train)
        return nn.Dense(self.num_classes, name='classifier')(rates)

    @property
    def scans_layers(self) -> bool:
        """Returns True if repeated blocks are scanned on this machine."""
        if self.scan_layers == 'auto':
            return jax.default_backend() != 'cpu'
        return bool(self.scan_layers)

    @property
    def _activation(self) -> str:
        """Returns the activation; ReLU for the kind 'ann' without one, '' for spiking neurons."""
        return self.activation or ('relu' if self.kind == 'ann' else '')

    @property
    def block_names(self) -> list[str]:
        """Returns the names of the blocks, ``stage1/block1``, in order."""
        return block_names(self.blocks)

    @property
    def path_lengths(self) -> tuple[int, int] | None:
        """Returns the edges of the shortest and the longest path; None if a block defines none."""
        block = BLOCKS[self.kind]
        if block.layers_around is None:
            return None
        on_residual, on_projection, after = block.layers_around
        residual = on_residual + (2 if self.bottleneck else 1)
        projection = on_projection + self.spiking_shortcut
        # The images, the neurons of the stem or the head, and the fully connected layers.
        shortest = longest = 2 + len(self.hidden)
        for number, projects in zip(self.blocks, self._projections, strict=True):
            for first in [True] + [False] * (number - 1):
                shortcut = projection if first and projects else 0
                paths = (residual, shortcut) if block.has_shortcut else (residual,)
                shortest += min(paths) + after
                longest += max(paths) + after
        return shortest, longest

    @property
    def _projections(self) -> list[bool]:
        """Returns True for each stage whose first shortcut has a convolution."""
        stem = self.widths[0] / (4 if self.bottleneck else 1)
        before = (stem, *self.widths[:-1])
        return [
            not self.pad_shortcut
            and (self.project_first or width != last or (stride != 1 and self.project_shortcut))
            for last, width, stride in zip(before, self.widths, self.strides, strict=True)
        ]

    @property
    def default_image_size(self) -> int:
        """Returns the image size: 32 for CIFAR, 128 for event cameras, 224 for ImageNet."""
        return 224 if self.in_channels != 2 and self.stem_stride > 1 else super().default_image_size

    @nn.nowrap
    def unrolled(self) -> Self:
        """Returns the model with scanning and rematerialization disabled."""
        return self.clone(scan_layers=False, remat='nothing')

    @nn.nowrap
    def _stem(self, conv_norm: Layer, train: bool) -> nn.Module:
        if self.stem == 'conv3x3x3':
            scale = self.threshold if self.is_spiking else 1.0
            norm = functools.partial(TDBN, train, initial_scale=scale)
            return TripleStem(self.widths[0], self.stem_stride, norm, self.dtype, name='stem')
        return conv_norm(self.widths[0], STEMS[self.stem], self.stem_stride, name='stem')

    @nn.nowrap
    def _conv_norm(self, train: bool) -> Layer:
        return functools.partial(
            ConvNorm,
            train=train,
            threshold=self.threshold if self.is_spiking else 1.0,
            runtime_scale=self.runtime_scale,
            zero_init_residual=self.zero_init_residual,
            dtype=self.dtype,
        )


class TripleStem(nn.Module):
    """Three successive 3x3 convolutions with biases, then normalization."""

    features: int
    stride: int
    norm: Callable[..., TDBN]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        for i, stride in enumerate((self.stride, 1, 1), start=1):
            x = Conv(self.features, 3, stride, use_bias=True, dtype=self.dtype, name=f'conv{i}')(x)
        return self.norm(name='norm')(x)


class Stage(nn.Module):
    """Blocks of one width; the first changes the resolution by ``stride``.

    Attributes:
      num_blocks: the number of blocks.
      features: the number of output channels.
      stride: the stride of the first block.
      block: a constructor ``(features, stride) -> block``, see `snnjax.models.blocks`.
      scan: True to scan the blocks after the first, if there are two or more.
      project_first: True for a 1x1 convolution in the first shortcut, see `ResNet`.
    """

    num_blocks: int
    features: int
    stride: int
    block: Callable[..., Block]
    scan: bool = False
    project_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        first = {'project_always': True} if self.project_first else {}
        x = self.block(self.features, self.stride, name='block1', **first)(x)
        if self.scan and self.num_blocks > 2:
            repeat = nn.scan(
                lambda block, x, _: (block(x), None),
                variable_axes={'params': 0, 'batch_stats': 0, 'firing_rates': 0},
                split_rngs={'params': True},
                length=self.num_blocks - 1,
            )
            return repeat(self.block(self.features, 1, name='repeated'), x, None)[0]
        for i in range(2, self.num_blocks + 1):
            x = self.block(self.features, 1, name=f'block{i}')(x)
        return x
