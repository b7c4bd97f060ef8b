"""MS blocks with normalization, residual addition and neurons fused into one pass over memory.

A convolution's output ``y`` is normalized, added to the stream, and fed to the neurons that follow,
in the same block or in the next one::

    stream' = stream + (slope * y + offset)        spikes = LIF(stream')
    spikes = LIF(slope * y + offset)               within a block, which adds no stream

The forward kernel reads ``y`` and the stream once, and writes the new stream, the spikes and one
word for each neuron. The backward kernel reads the two cotangents, ``y`` and the words once. It
writes the cotangent of the current, and its two sums over each channel that normalization needs.

There are two forms: a Pallas kernel for GPUs (through Triton; interpreted on other platforms), and
plain JAX that XLA can fuse. `snnjax.models.layers` computes the batch statistics in both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from snnjax.models.blocks import BLOCKS, MSBlock
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN
from snnjax.models.registry import option_fields
from snnjax.models.resnets import ResNet
from snnjax.neurons.isolate import isolate

DECAY, THRESHOLD, WIDTH = 0.25, 0.5, 1.0
# Elements that a program of the kernel processes at once, and the most turns that it takes.
_BLOCK, _TURNS = 1024, 8


def _word_dtype(num_steps: int) -> Any:
    return next(
        d for d in (jnp.uint8, jnp.uint16, jnp.uint32) if 2 * num_steps <= jnp.iinfo(d).bits
    )


def _current(y: jax.Array, slope: jax.Array, offset: jax.Array, stream: jax.Array | None) -> Any:
    """Returns the neurons' input, rounded as the layers of the library round it."""
    current = (y.astype(jnp.float32) * slope + offset).astype(y.dtype)
    return current if stream is None else stream + current


def _charge(
    potential: jax.Array, word: jax.Array, current: jax.Array, t: int, num_steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the potential after step ``t``, the word with the step's bits, and its spikes."""
    potential = DECAY * potential + current.astype(jnp.float32)
    distance = potential - THRESHOLD
    spike, inside = distance >= 0, jnp.abs(distance) <= WIDTH / 2
    word |= jnp.where(spike, 1 << t, 0) | jnp.where(inside, 1 << (num_steps + t), 0)
    return jnp.where(spike, 0.0, potential), word, spike


def _pull_back(
    carry: jax.Array, cotangent: jax.Array, word: jax.Array, t: int, num_steps: int
) -> jax.Array:
    """Returns the cotangent of the potential in step ``t``."""
    inside, spike = (word >> (num_steps + t)) & 1 == 1, (word >> t) & 1 == 1
    through_spike = jnp.where(inside, cotangent.astype(jnp.float32) / WIDTH, 0.0)
    return through_spike + jnp.where(spike, 0.0, carry)


class _Tiles(NamedTuple):
    """The division of arrays (B, T, R, C) with R pixels among the programs of a kernel.

    Attributes:
      rows: the number of pixels that a program processes at once.
      turns: the number of turns of a program.
    """

    rows: int
    turns: int

    @classmethod
    def of(cls, pixels: int, channels: int) -> _Tiles:
        """Returns the tiles for a number of pixels and channels.

        Raises:
          ValueError: if the number of channels is not a power of two, which Triton needs.
        """
        if channels & (channels - 1):
            raise ValueError(f'the number of channels, {channels}, must be a power of two')
        rows = 1
        while pixels % (2 * rows) == 0 and 2 * rows * channels <= _BLOCK:
            rows *= 2
        turns = max(n for n in range(1, _TURNS + 1) if pixels // rows % n == 0)
        return cls(rows, turns)


def _forward_kernel(tiles: _Tiles, *refs: Any) -> None:
    *inputs, word_ref, spikes_ref = refs if len(refs) == 5 else refs[:-1]
    out_ref = None if len(refs) == 5 else refs[-1]
    y_ref, slope_ref, offset_ref, *streams = inputs
    slope, offset = slope_ref[...], offset_ref[...]
    num_steps = y_ref.shape[0]

    def turn(i: Any, carry: None) -> None:
        rows = pl.ds(i * tiles.rows, tiles.rows)
        shape = (tiles.rows, y_ref.shape[-1])
        potential, word = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.int32)
        for t in range(num_steps):
            stream = None
            if streams:
                # A stream that is constant in time has a single step.
                stream = streams[0][t if streams[0].shape[0] > 1 else 0, rows, :]
            current = _current(y_ref[t, rows, :], slope, offset, stream)
            potential, word, spike = _charge(potential, word, current, t, num_steps)
            spikes_ref[t, rows, :] = spike.astype(spikes_ref.dtype)
            if out_ref is not None:
                out_ref[t, rows, :] = current
        word_ref[rows, :] = word.astype(word_ref.dtype)
        return carry

    lax.fori_loop(0, tiles.turns, turn, None)


def _backward_kernel(tiles: _Tiles, *refs: Any) -> None:
    *inputs, gradient_ref, sum_ref, product_ref = refs
    spikes_ref, word_ref, y_ref, *streams = inputs
    num_steps = y_ref.shape[0]

    def turn(i: Any, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rows = pl.ds(i * tiles.rows, tiles.rows)
        word = word_ref[rows, :].astype(jnp.int32)
        carry = total = product = jnp.zeros(word.shape, jnp.float32)
        for t in reversed(range(num_steps)):
            gradient = _pull_back(carry, spikes_ref[t, rows, :], word, t, num_steps)
            carry = DECAY * gradient
            rounded = gradient.astype(gradient_ref.dtype)
            if streams:
                rounded += streams[0][t, rows, :]
            gradient_ref[t, rows, :] = rounded
            total += rounded.astype(jnp.float32)
            product += rounded.astype(jnp.float32) * y_ref[t, rows, :].astype(jnp.float32)
        return sums[0] + jnp.sum(total, axis=0), sums[1] + jnp.sum(product, axis=0)

    zeros = jnp.zeros(sum_ref.shape, jnp.float32)
    sum_ref[...], product_ref[...] = lax.fori_loop(0, tiles.turns, turn, (zeros, zeros))


def _call(
    kernel: Callable[..., None],
    outputs: list[jax.ShapeDtypeStruct],
    inputs: list[jax.Array],
    y: jax.Array,
) -> list[jax.Array]:
    """Runs a kernel on the GPU, or interprets it.

    The arrays have one axis for the pixels: (B, T, R, C), or (B, R, C) for words. Arrays (C,) are
    shared by all programs, and arrays (B, programs, C) have a part for each program.
    """
    _, _, pixels, channels = y.shape
    tiles = _Tiles.of(pixels, channels)
    block = tiles.rows * tiles.turns

    def spec(array: Any) -> pl.BlockSpec:
        if array.ndim == 1:
            return pl.BlockSpec(array.shape, lambda b, r: (0,))
        if array.ndim == 4:
            shape = (None, array.shape[1], block, channels)
            return pl.BlockSpec(shape, lambda b, r: (b, 0, r, 0))
        rows = block if array.shape[1] == pixels and array.dtype != jnp.float32 else None
        return pl.BlockSpec((None, rows, channels), lambda b, r: (b, r, 0))

    moved = sum(a.size * a.dtype.itemsize for a in [*inputs, *outputs])
    call = functools.partial(
        pl.pallas_call,
        functools.partial(kernel, tiles),
        out_shape=outputs,
        grid=(y.shape[0], pixels // block),
        in_specs=[spec(array) for array in inputs],
        out_specs=[spec(array) for array in outputs],
        name=f'fused{kernel.__name__}',
        cost_estimate=pl.CostEstimate(flops=0, transcendentals=0, bytes_accessed=moved),
    )
    on_gpu = call(compiler_params=triton.CompilerParams(num_warps=4, num_stages=1))
    return lax.platform_dependent(*inputs, cuda=on_gpu, default=call(interpret=True))


def _pixels(x: jax.Array) -> jax.Array:
    """Merges the pixels into one axis, (B, T, H, W, C) -> (B, T, H W, C), without a copy."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


# Jitted, so that layers of the same shapes share a trace.
@jax.jit
def _kernel_forward(y: jax.Array, slope: jax.Array, offset: jax.Array, *streams: jax.Array) -> Any:
    pixels = _pixels(y)
    like = jax.ShapeDtypeStruct(pixels.shape, y.dtype)
    word = jax.ShapeDtypeStruct((y.shape[0], *pixels.shape[2:]), _word_dtype(y.shape[1]))
    inputs = [pixels, slope, offset, *map(_pixels, streams)]
    results = _call(_forward_kernel, [word, like, *[like for _ in streams]], inputs, pixels)
    return results[0], *(array.reshape(y.shape) for array in results[1:])


@jax.jit
def _kernel_backward(spikes: jax.Array, word: jax.Array, y: jax.Array, *streams: jax.Array) -> Any:
    pixels = _pixels(y)
    tiles = _Tiles.of(*pixels.shape[2:])
    programs = pixels.shape[2] // (tiles.rows * tiles.turns)
    sums = jax.ShapeDtypeStruct((y.shape[0], programs, y.shape[-1]), jnp.float32)
    outputs = [jax.ShapeDtypeStruct(pixels.shape, y.dtype), sums, sums]
    inputs = [_pixels(spikes), word, pixels, *map(_pixels, streams)]
    gradient, total, product = _call(_backward_kernel, outputs, inputs, pixels)
    return gradient.reshape(y.shape), jnp.sum(total, (0, 1)), jnp.sum(product, (0, 1))


def _plain_forward(y: jax.Array, slope: jax.Array, offset: jax.Array, *streams: jax.Array) -> Any:
    def encode(y: jax.Array, slope: jax.Array, offset: jax.Array, *streams: jax.Array) -> Any:
        current = _current(y, slope, offset, streams[0] if streams else None)
        shape = (y.shape[0], *y.shape[2:])
        potential, word = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.int32)
        for t in range(y.shape[1]):
            potential, word, _ = _charge(potential, word, current[:, t], t, y.shape[1])
        return word.astype(_word_dtype(y.shape[1])), *([current] if streams else [])

    word, *out = isolate(encode)(y, slope, offset, *streams)
    steps = jnp.arange(y.shape[1], dtype=word.dtype)[:, None, None, None]
    spikes = ((word[:, None] >> steps) & 1).astype(y.dtype)
    return word.reshape(y.shape[0], -1, y.shape[-1]), spikes, *out


def _plain_backward(spikes: jax.Array, word: jax.Array, y: jax.Array, *streams: jax.Array) -> Any:
    bits = word.reshape(y.shape[0], *y.shape[2:]).astype(jnp.int32)
    carry, gradients = jnp.zeros(bits.shape, jnp.float32), []
    for t in reversed(range(y.shape[1])):
        gradient = _pull_back(carry, spikes[:, t], bits, t, y.shape[1])
        carry = DECAY * gradient
        rounded = gradient.astype(y.dtype)
        gradients.append(rounded + streams[0][:, t] if streams else rounded)
    gradient = jnp.stack(gradients[::-1], 1)
    numbers, axes = gradient.astype(jnp.float32), (0, 1, 2, 3)
    return gradient, jnp.sum(numbers, axes), jnp.sum(numbers * y.astype(jnp.float32), axes)


class Fused(NamedTuple):
    """The two fused passes, with custom gradients.

    Attributes:
      fire: the function ``(y, slope, offset) -> spikes``; y (B, T, H, W, C), slope and offset (C,).
      add_and_fire: the function ``(y, slope, offset, stream) -> (stream', spikes)``; stream (B, 1
        or T, H, W, C).
    """

    fire: Callable[..., Any]
    add_and_fire: Callable[..., Any]


def make_fused(forward: Callable[..., Any], backward: Callable[..., Any]) -> Fused:
    """Builds the two passes of a form.

    Args:
      forward: the function ``(y, slope, offset, *streams) -> (word, spikes, *streams)``.
      backward: the function ``(spikes, word, y, *streams)``, in which spikes and streams are
        cotangents. It returns the cotangent of the current, and for each channel the sum of that
        cotangent and the sum of its product with ``y``.

    Raises:
      ValueError: if a pass is called with more than 15 time steps, which do not fit into a word.
    """

    def run(y: jax.Array, *rest: jax.Array) -> Any:
        if y.shape[1] > 15:
            raise ValueError(f'the number of time steps, {y.shape[1]}, must be at most 15')
        return forward(y, *rest)

    def gradients(residuals: Any, spikes: jax.Array, *streams: jax.Array) -> Any:
        y, slope, word = residuals
        gradient, total, product = backward(spikes, word, y, *streams)
        of_y = (gradient.astype(jnp.float32) * slope).astype(y.dtype)
        return gradient, (of_y, product, total)

    @jax.custom_vjp
    def fire(y: jax.Array, slope: jax.Array, offset: jax.Array) -> jax.Array:
        return run(y, slope, offset)[1]

    def fire_forward(y: jax.Array, slope: jax.Array, offset: jax.Array) -> Any:
        word, spikes = run(y, slope, offset)
        return spikes, (y, slope, word)

    fire.defvjp(fire_forward, lambda residuals, spikes: gradients(residuals, spikes)[1])

    @jax.custom_vjp
    def add_and_fire(y: jax.Array, slope: jax.Array, offset: jax.Array, stream: jax.Array) -> Any:
        return add_and_fire_forward(y, slope, offset, stream)[0]

    def add_and_fire_forward(
        y: jax.Array, slope: jax.Array, offset: jax.Array, stream: jax.Array
    ) -> Any:
        word, spikes, out = run(y, slope, offset, stream)
        # The backward pass needs only the stream's number of time steps.
        return (out, spikes), ((y, slope, word), stream[:0])

    def add_and_fire_backward(residuals: Any, cotangents: tuple[jax.Array, jax.Array]) -> Any:
        kept, stream = residuals
        gradient, others = gradients(kept, cotangents[1], cotangents[0])
        if stream.shape[1] == 1:
            gradient = jnp.sum(gradient, 1, keepdims=True)
        return *others, gradient

    add_and_fire.defvjp(add_and_fire_forward, add_and_fire_backward)
    return Fused(fire, add_and_fire)


FORMS = {
    'pallas': make_fused(_kernel_forward, _kernel_backward),
    'xla': make_fused(_plain_forward, _plain_backward),
}
"""The fused passes by form."""


class _ConvAffine(nn.Module):
    """A convolution that also returns the slope and offset of the normalization after it.

    The variables are those of `snnjax.models.layers.ConvNorm`.
    """

    features: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        y = Conv(self.features, 3, self.stride, dtype=self.dtype, name='conv')(x)
        return y, *TDBN(train=True, name='norm').affine(y)


class FusedMSBlock(MSBlock):
    """An `MSBlock` in training that also fires the first neurons of the next block.

    Attributes:
      form: a key of `FORMS`.
    """

    form: str = 'xla'

    @nn.compact
    def __call__(self, x: Any) -> tuple[jax.Array, jax.Array]:
        """Applies the block to a stream (B, 1 or T, H, W, C), or to a stream and its spikes.

        Returns:
          The stream (B, T, H', W', features) and its spikes.
        """
        fused = FORMS[self.form]
        stream, spikes = x if isinstance(x, tuple) else (x, self.spike(name='spike1')(x))
        options = {'dtype': spikes.dtype}
        inner = fused.fire(
            *_ConvAffine(self.features, self.stride, **options, name='conv1')(spikes)
        )
        y, slope, offset = _ConvAffine(self.features, 1, **options, name='conv2')(inner)
        return fused.add_and_fire(y, slope, offset, self.shortcut(stream))


class PallasMSBlock(FusedMSBlock):
    """`FusedMSBlock` with Pallas kernels."""

    form: str = 'pallas'


FUSED_BLOCKS = {'xla': FusedMSBlock, 'pallas': PallasMSBlock}


class _Spikes(nn.Module):
    """Neurons that return the spikes of their input if it has any already."""

    neurons: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Any) -> jax.Array:
        return x[1] if isinstance(x, tuple) else self.neurons(name='neurons')(x)


class FusedResNet(ResNet):
    """A `ResNet` of fused blocks with the same variables."""

    @nn.nowrap
    def _spike(self, num_steps: int) -> Callable[..., nn.Module]:
        return functools.partial(_Spikes, super()._spike(num_steps))


def fuse(model: ResNet, form: str) -> FusedResNet:
    """Returns an MS-ResNet with fused blocks, for training.

    Args:
      model: the network, with default neurons and without bottlenecks.
      form: a key of `FORMS`.

    Raises:
      ValueError: if the network is of another kind.
    """
    if (model.kind, model.bottleneck, model.decay, model.threshold) != (
        'ms',
        False,
        DECAY,
        THRESHOLD,
    ):
        raise ValueError('only an MS-ResNet with default neurons and no bottlenecks can be fused')
    kind = f'ms_fused_{form}'
    BLOCKS[kind] = FUSED_BLOCKS[form]
    options = {field.name: getattr(model, field.name) for field in option_fields(type(model))}
    return FusedResNet(**options | {'kind': kind})
