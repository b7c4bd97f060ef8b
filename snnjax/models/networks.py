"""The residual network: stem, stages of blocks, head."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from snnjax.models.blocks import BLOCKS, Block, Layer
from snnjax.models.convolution import Conv
from snnjax.models.layers import LIF, TDBN, ConvNorm, ReLU
from snnjax.neurons import SURROGATES, lif
from snnjax.spelling import suggest

DEFAULT_NUM_STEPS = 6
"""Time steps that a static image is presented for where nothing is said: the paper's (B.3)."""

STEMS = {'conv3': 3, 'conv7': 7, 'conv3x3x3': 3}
"""Kernel sizes by the name of the stem."""

REMATERIALISATION: dict[str, Any] = {
    'nothing': None,
    'elementwise': jax.checkpoint_policies.save_only_these_names(
        'convolution', 'moments', 'spikes'
    ),
    'blocks': jax.checkpoint_policies.nothing_saveable,
}
"""What of a block the backward pass computes again, instead of keeping it, and by which policy:
nothing; all but convolutions, their moments and the packed spikes; or everything."""


def _is_floating(dtype: Any) -> bool:
    try:
        return dtype is None or bool(jnp.issubdtype(jnp.dtype(dtype), jnp.floating))
    except TypeError:
        return False


class ResNet(nn.Module):
    """A deep residual spiking network (tables 1, 7 and 8).

    The head averages spikes over space and time, and has a linear classifier. A static image is
    constant in time until the first neurons have seen it, so what comes before them runs once for
    it, with the gradient of all time steps.

    The number of time steps is not part of the variables: those trained at T = 1 run at any T.

    Attributes:
      num_classes: logits per image.
      num_steps: time steps T a static image is presented for; None means 6. A sequence brings its
        own T, which must agree if this is given. An ANN sees a static image once.
      in_channels: channels of the images.
      kind: of the blocks, a key of `snnjax.models.blocks.BLOCKS`.
      stem: 'conv3' or 'conv7', a convolution of that size, or 'conv3x3x3', three of size 3 with
        biases; then one normalisation.
      stem_stride: of the stem's first convolution.
      blocks: number of blocks of each stage.
      widths: channels of each stage; the stem has the first.
      strides: stride of the first block of each stage.
      project_shortcut: see `snnjax.models.blocks.Block`.
      avgpool_shortcut: likewise.
      spiking_shortcut: likewise.
      zero_init_residual: start the last scale of a residual path at 0 (B.3).
      dropout: share of the classifier's inputs that training leaves out; needs an rng 'dropout'.
      decay: of the membrane potential, ``tau_mem``; the defaults of the neurons are table 6.
      threshold: of firing, ``V_th``, where the scales of normalisation start, too.
      learnable_decay: a decay of its own for each layer of neurons, which training changes.
      learnable_threshold: likewise for the threshold.
      surrogate: a key of `snnjax.neurons.SURROGATES`.
      surrogate_width: its width, ``a``.
      strict: fire at ``u > V_th`` rather than ``>=``, see `snnjax.neurons.lif`.
      detach_reset: no gradient through the reset, see `snnjax.neurons.lif`.
      runtime_scale: normalise with a factor ``alpha * V_th`` at run time, see `ConvNorm`.
      dtype: of activations and convolutions; None follows the images. Parameters, statistics and
        membrane potentials are float32 all the same.
      scan_layers: compile a stage's repeated blocks once, over parameters stacked along a leading
        axis (see `snnjax.models.stacking`); 'auto' does so except on CPU, where convolutions in a
        loop are slow.
      remat: what of a block the backward pass computes again instead of keeping it, a key of
        `REMATERIALISATION`.

    Raises:
      ValueError: when built with an unknown kind, stem or surrogate, with stages that do not agree
        in number, with a shortcut's option for a network that has not that shortcut, or with a
        number or dtype that cannot be.
    """

    num_classes: int = 10
    num_steps: int | None = None
    in_channels: int = 3
    kind: str = 'ms'
    stem: str = 'conv3'
    stem_stride: int = 1
    blocks: tuple[int, ...] = (3, 3, 3)
    widths: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (1, 2, 2)
    project_shortcut: bool = True
    avgpool_shortcut: bool = False
    spiking_shortcut: bool = False
    zero_init_residual: bool = False
    dropout: float = 0.0
    decay: float = 0.25
    threshold: float = 0.5
    learnable_decay: bool = False
    learnable_threshold: bool = False
    surrogate: str = 'rectangular'
    surrogate_width: float = 1.0
    strict: bool = False
    detach_reset: bool = True
    runtime_scale: bool = False
    dtype: Any = None
    scan_layers: bool | Literal['auto'] = False
    remat: str = 'nothing'

    def __post_init__(self) -> None:
        known: dict[str, Collection[str]] = {
            'kind': BLOCKS,
            'stem': STEMS,
            'surrogate': SURROGATES,
            'remat': REMATERIALISATION,
        }
        for option, choices in known.items():
            value = getattr(self, option)
            if value not in choices:
                raise ValueError(f'unknown {option} {value!r}; {suggest(value, choices)}')
        if not len(self.blocks) == len(self.widths) == len(self.strides):
            raise ValueError(
                f'blocks={self.blocks}, widths={self.widths} and strides={self.strides} must have '
                f'one number a stage each'
            )
        if self.spiking_shortcut and BLOCKS[self.kind].stream_of_spikes:
            raise ValueError(f"spiking_shortcut: the shortcuts of kind '{self.kind}' see spikes")
        if self.scan_layers not in (True, False, 'auto'):
            raise ValueError(f"scan_layers={self.scan_layers!r} must be true, false or 'auto'")
        for option in ('num_classes', 'in_channels', 'stem_stride', 'blocks', 'widths', 'strides'):
            value = getattr(self, option)
            if min(value) < 1 if isinstance(value, tuple) else value < 1:
                raise ValueError(f'{option}={value} must be at least 1')
        for option, expected, holds in (
            ('dropout', 'at least 0 and below 1', 0 <= self.dropout < 1),
            ('decay', 'from 0 to 1', 0 <= self.decay <= 1),
            ('threshold', 'above 0', self.threshold > 0),
            ('surrogate_width', 'above 0', self.surrogate_width > 0),
            ('dtype', "a floating type, as 'bfloat16'", _is_floating(self.dtype)),
        ):
            if not holds:
                raise ValueError(f'{option}={getattr(self, option)} must be {expected}')
        super().__post_init__()

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
          ValueError: for images of another rank, channel count or number of time steps, or of a
            size that a pooling shortcut cannot halve.
        """
        x, num_steps = self._stream(images)
        conv_norm = self._conv_norm(train)
        spike = self._spike(num_steps)
        policy, block_type = REMATERIALISATION[self.remat], BLOCKS[self.kind]
        block = functools.partial(
            nn.remat(block_type, policy=policy) if policy else block_type,
            conv_norm=conv_norm,
            spike=spike,
            project_shortcut=self.project_shortcut,
            avgpool_shortcut=self.avgpool_shortcut,
            spiking_shortcut=self.spiking_shortcut,
        )
        stream_of_spikes = block_type.stream_of_spikes

        x = self._stem(conv_norm, train)(x)
        if stream_of_spikes:
            x = spike(name='spike')(x)
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for i, (num_blocks, width, stride) in enumerate(stages, start=1):
            x = Stage(num_blocks, width, stride, block, self.scans_layers, name=f'stage{i}')(x)
        if not stream_of_spikes:
            x = spike(name='spike')(x)
        rates = jnp.mean(x, axis=(1, 2, 3), dtype=jnp.promote_types(x.dtype, jnp.float32))
        rates = nn.Dropout(self.dropout, deterministic=not train)(rates)
        return nn.Dense(self.num_classes, name='classifier')(rates)

    @property
    def scans_layers(self) -> bool:
        """Whether repeated blocks are scanned, on this machine."""
        if self.scan_layers == 'auto':
            return jax.default_backend() != 'cpu'
        return bool(self.scan_layers)

    def _stem(self, conv_norm: Layer, train: bool) -> nn.Module:
        if self.stem == 'conv3x3x3':
            norm = functools.partial(TDBN, train, initial_scale=self.threshold)
            return TripleStem(self.widths[0], self.stem_stride, norm, self.dtype, name='stem')
        return conv_norm(self.widths[0], STEMS[self.stem], self.stem_stride, name='stem')

    def _conv_norm(self, train: bool) -> Layer:
        return functools.partial(
            ConvNorm,
            train=train,
            threshold=1.0 if self.kind == 'ann' else self.threshold,
            runtime_scale=self.runtime_scale,
            zero_init_residual=self.zero_init_residual,
            dtype=self.dtype,
        )

    def _spike(self, num_steps: int) -> Layer:
        if self.kind == 'ann':
            return ReLU
        neuron = functools.partial(
            lif,
            width=self.surrogate_width,
            strict=self.strict,
            detach_reset=self.detach_reset,
            surrogate=SURROGATES[self.surrogate],
        )
        return functools.partial(
            LIF,
            num_steps,
            neuron,
            decay=self.decay,
            threshold=self.threshold,
            learnable_decay=self.learnable_decay,
            learnable_threshold=self.learnable_threshold,
        )

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


class TripleStem(nn.Module):
    """Three 3x3 convolutions with biases and nothing between them, then normalisation."""

    features: int
    stride: int
    norm: Callable[..., TDBN]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        for i, stride in enumerate((self.stride, 1, 1), start=1):
            x = Conv(self.features, 3, stride, use_bias=True, dtype=self.dtype, name=f'conv{i}')(x)
        return self.norm(name='norm')(x)


class Stage(nn.Module):
    """Blocks of one width; the first changes the resolution by ``stride``.

    Attributes:
      num_blocks: how many.
      features: output channels.
      stride: of the first block.
      block: ``(features, stride)`` -> block, see the module `snnjax.models.blocks`.
      scan: run the blocks after the first, if more than one, as a single scanned one.
    """

    num_blocks: int
    features: int
    stride: int
    block: Callable[..., Block]
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, C) -> (B, T, ceil(H / stride), ceil(W / stride), features)."""
        x = self.block(self.features, self.stride, name='block1')(x)
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
