r"""Alternative forms of the neurons, planned for a TPU by `snnjax.tools.plan_tpu`.

python benchmarks/neuron_forms.py --form=autodiff --config=configs/imagenet.py:depth=34 \
    --config.model.dtype=bfloat16 --images_per_chip=32

- autodiff: automatic differentiation through a scan over time; only spikes have a custom gradient.
- pallas: MS blocks in which the inner neurons and the normalization before them are one kernel, for
  one chip of the topology. The forward kernel reads a convolution's output once, and writes one
  word for each neuron. The backward kernel reads the spikes' cotangent, the words and the
  convolution's output once. It writes the current's cotangent and the two sums over each channel
  that normalization needs.
- fused: the same without kernels, for XLA to fuse.
- ours: the library's form on one chip, for comparison with these two.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from snnjax.models.blocks import BLOCKS, MSBlock
from snnjax.models.convolution import Conv
from snnjax.models.layers import TDBN, record_rate
from snnjax.neurons import NEURONS
from snnjax.neurons.isolate import isolate
from snnjax.tools import plan_tpu
from snnjax.tools.config_arguments import run_with_config


def main() -> int:
    """Runs `snnjax.tools.plan_tpu` with the form of neurons given on the command line."""
    parser = plan_tpu.make_parser(__doc__, _USAGE)
    parser.add_argument(
        '--form',
        default='pallas',
        choices=['autodiff', 'pallas', 'fused', 'ours'],
        help='the form of the neurons',
    )
    return run_with_config(parser, None, print_plan)


def print_plan(args: argparse.Namespace, config: Any) -> None:
    """Prints a plan of the network with other neurons."""
    if args.form == 'autodiff':
        NEURONS['lif'] = autodiff_lif
    else:
        plan_tpu.describe_topology = one_chip(plan_tpu.describe_topology)
    if args.form in FUSED_BLOCKS:
        BLOCKS['ms'] = FUSED_BLOCKS[args.form]
    plan_tpu.print_plan(args, config)


def one_chip(describe_topology: Callable[[str], Any]) -> Callable[[str], Any]:
    """Restricts the topology to one chip, because the kernels have no rule for sharding."""

    def described(topology: str) -> Any:
        chip, _, devices = describe_topology(topology)
        return chip, 1, devices[:1]

    return described


@jax.custom_vjp
def _spike(distance: jax.Array) -> jax.Array:
    return (distance >= 0).astype(distance.dtype)


_spike.defvjp(
    lambda distance: (_spike(distance), distance),
    lambda distance, cotangent: (cotangent * (jnp.abs(distance) <= WIDTH / 2),),
)


def autodiff_lif(
    current: jax.Array, *, decay: Any = 0.25, threshold: Any = 0.5, **_: Any
) -> jax.Array:
    """Computes `snnjax.neurons.lif` with its default options, in a few lines."""

    def step(potential: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        potential = decay * potential + current.astype(jnp.float32)
        spikes = _spike(potential - threshold)
        return potential * (1 - lax.stop_gradient(spikes)), spikes.astype(current.dtype)

    steps = jnp.moveaxis(current, 1, 0)
    _, spikes = lax.scan(step, jnp.zeros(steps.shape[1:], jnp.float32), steps)
    return jnp.moveaxis(spikes, 0, 1)


DECAY, THRESHOLD, WIDTH = 0.25, 0.5, 1.0
_PIXELS_PER_BLOCK = 16


def _step(
    potential: jax.Array, y: jax.Array, slope: jax.Array, offset: jax.Array, t: int, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the membrane potential after step ``t``, and the step's two bits of the word."""
    current = (y.astype(jnp.float32) * slope + offset).astype(y.dtype)
    potential = DECAY * potential + current.astype(jnp.float32)
    distance = potential - THRESHOLD
    spike, inside = distance >= 0, jnp.abs(distance) <= WIDTH / 2
    bits = jnp.where(spike, 1 << t, 0) | jnp.where(inside, 1 << (num_steps + t), 0)
    return jnp.where(spike, 0.0, potential), bits


def _step_back(
    carry: jax.Array, cotangent: jax.Array, word: jax.Array, t: int, num_steps: int
) -> jax.Array:
    """Returns the cotangent of the current in step ``t``."""
    inside, spike = (word >> (num_steps + t)) & 1 == 1, (word >> t) & 1 == 1
    through_spike = jnp.where(inside, cotangent.astype(jnp.float32) / WIDTH, 0.0)
    return through_spike + jnp.where(spike, 0.0, carry)


def _encode_kernel(y_ref, slope_ref, offset_ref, word_ref):
    slope, offset = slope_ref[...], offset_ref[...]
    potential = jnp.zeros(word_ref.shape, jnp.float32)
    word = jnp.zeros(word_ref.shape, jnp.int32)
    for t in range(y_ref.shape[0]):
        potential, bits = _step(potential, y_ref[t], slope, offset, t, y_ref.shape[0])
        word |= bits
    word_ref[...] = word.astype(word_ref.dtype)


def _differentiate_kernel(cotangent_ref, word_ref, y_ref, gradient_ref, sum_ref, product_ref):
    @pl.when(pl.program_id(0) == 0)
    def _():
        sum_ref[...] = jnp.zeros_like(sum_ref)
        product_ref[...] = jnp.zeros_like(product_ref)

    word = word_ref[...].astype(jnp.int32)
    carry = total = product = jnp.zeros(word.shape, jnp.float32)
    for t in reversed(range(y_ref.shape[0])):
        gradient = _step_back(carry, cotangent_ref[t], word, t, y_ref.shape[0])
        gradient_ref[t] = gradient.astype(gradient_ref.dtype)
        total += gradient
        product += gradient * y_ref[t].astype(jnp.float32)
        carry = DECAY * gradient
    channels = sum_ref.shape[-1]
    sum_ref[...] += jnp.sum(total.reshape(-1, channels), 0, keepdims=True)
    product_ref[...] += jnp.sum(product.reshape(-1, channels), 0, keepdims=True)


def _pixels(x: jax.Array) -> jax.Array:
    """Converts (B, T, H, W, C) -> (T, H W, B, C), XLA's own layout, so that nothing is copied."""
    x = jnp.transpose(x, (1, 2, 3, 0, 4))
    return x.reshape(x.shape[0], -1, *x.shape[3:])


def _images(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Inverts `_pixels`; the shape is (B, T, H, W, C)."""
    batch, steps, height, width, channels = shape
    return jnp.transpose(x.reshape(steps, height, width, batch, channels), (3, 0, 1, 2, 4))


def _call(kernel: Any, out: Any, *inputs: jax.Array) -> Any:
    """Runs a kernel over blocks of pixels; arrays (1, C) are shared by all blocks.

    The kernel is interpreted if there is no TPU.
    """

    def spec(array: Any) -> pl.BlockSpec:
        if len(array.shape) == 2:
            return pl.BlockSpec(array.shape, lambda i: (0, 0))
        *steps, _, batch, channels = array.shape
        shape = (*steps, block, batch, channels)
        return pl.BlockSpec(shape, lambda i: (*(0 for _ in steps), i, 0, 0))

    pixels = max(array.shape[-3] for array in inputs if array.ndim > 2)
    block = max(n for n in range(1, _PIXELS_PER_BLOCK + 1) if pixels % n == 0)
    moved = sum(a.size * a.dtype.itemsize for a in (*inputs, *jax.tree.leaves(out)))
    call = functools.partial(
        pl.pallas_call,
        kernel,
        out_shape=out,
        grid=(pixels // block,),
        in_specs=[spec(array) for array in inputs],
        out_specs=jax.tree.map(spec, out),
        cost_estimate=pl.CostEstimate(flops=0, transcendentals=0, bytes_accessed=moved),
    )
    return lax.platform_dependent(*inputs, tpu=call(), default=call(interpret=True))


def _kernel_encode(y: jax.Array, slope: jax.Array, offset: jax.Array) -> jax.Array:
    x = _pixels(y)
    out = jax.ShapeDtypeStruct(x.shape[1:], _word_dtype(y))
    return _call(_encode_kernel, out, x, slope[None], offset[None])


def _kernel_differentiate(y: jax.Array, word: jax.Array, cotangent: jax.Array):
    x, sums = _pixels(y), jax.ShapeDtypeStruct((1, y.shape[-1]), jnp.float32)
    out = (jax.ShapeDtypeStruct(x.shape, y.dtype), sums, sums)
    gradient, total, product = _call(_differentiate_kernel, out, _pixels(cotangent), word, x)
    return _images(gradient, y.shape), total[0], product[0]


def _plain_encode(y: jax.Array, slope: jax.Array, offset: jax.Array) -> jax.Array:
    potential = jnp.zeros((y.shape[0], *y.shape[2:]), jnp.float32)
    word = jnp.zeros(potential.shape, _word_dtype(y))
    for t in range(y.shape[1]):
        potential, bits = _step(potential, y[:, t], slope, offset, t, y.shape[1])
        word |= bits.astype(word.dtype)
    # The kernels' layout is (H, W, B, C).
    return jnp.transpose(word, (1, 2, 0, 3)).reshape(-1, word.shape[0], word.shape[3])


def _plain_differentiate(y: jax.Array, word: jax.Array, cotangent: jax.Array):
    word = jnp.transpose(word.reshape(*y.shape[2:4], y.shape[0], y.shape[4]), (2, 0, 1, 3))
    carry, gradients = jnp.zeros(word.shape, jnp.float32), []
    for t in reversed(range(y.shape[1])):
        gradient = _step_back(carry, cotangent[:, t], word.astype(jnp.int32), t, y.shape[1])
        gradients.append(gradient.astype(y.dtype))
        carry = DECAY * gradient
    gradient = jnp.stack(gradients[::-1], 1)
    numbers = gradient.astype(jnp.float32)
    axes = (0, 1, 2, 3)
    return gradient, jnp.sum(numbers, axes), jnp.sum(numbers * y.astype(jnp.float32), axes)


def _word_dtype(y: jax.Array) -> Any:
    return jnp.uint8 if y.shape[1] <= 4 else jnp.uint16


Fire = Callable[..., jax.Array]


def make_fire(encode: Callable[..., Any], differentiate: Callable[..., Any]) -> Fire:
    """Returns neurons with a custom gradient, given the functions of the two passes.

    Returns:
      The function ``fire(y, slope, offset)``, which returns the spikes of the paper's neurons for
      the current ``slope * y + offset``; y (B, T, H, W, C) with T at most 8, slope and offset (C,).
    """

    @jax.custom_vjp
    def fire(y, slope, offset):
        return forward(y, slope, offset)[0]

    def forward(y, slope, offset):
        word = encode(y, slope, offset)
        steps = jnp.arange(y.shape[1], dtype=word.dtype)[:, None, None, None]
        spikes = ((word[None] >> steps) & 1).astype(y.dtype)
        return _images(spikes, y.shape), (y, slope, word)

    def backward(residuals, cotangent):
        y, slope, word = residuals
        gradient, total, product = differentiate(y, word, cotangent)
        return (gradient * slope).astype(y.dtype), product, total

    fire.defvjp(forward, backward)
    return fire


FORMS = {
    'pallas': make_fire(_kernel_encode, _kernel_differentiate),
    'fused': make_fire(isolate(_plain_encode), _plain_differentiate),
}


class ConvNormFire(nn.Module):
    """A `ConvNorm` and the neurons after it, with the same variables."""

    features: int
    stride: int
    dtype: Any
    fire: Fire

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        y = Conv(self.features, 3, self.stride, dtype=self.dtype, name='conv')(x)
        slope, offset = TDBN(train=True, name='norm').affine(y)
        spikes = self.fire(y, slope, offset)
        record_rate(self, spikes)
        return spikes


class FusedMSBlock(MSBlock):
    """An `MSBlock` in training, with its inner neurons fused with the normalization before them.

    Attributes:
      fire: a value of `FORMS`.
    """

    fire: Fire = FORMS['fused']

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, H, W, C) to (B, T, ceil(H / stride), ceil(W / stride), features)."""
        residual = self.spike(name='spike1')(x)
        options = (residual.dtype, self.fire)
        residual = ConvNormFire(self.features, self.stride, *options, name='conv1')(residual)
        residual = self.conv_norm(self.features, 3, 1, 'residual', name='conv2')(residual)
        return self.shortcut(x) + residual


class PallasMSBlock(FusedMSBlock):
    """`FusedMSBlock` with Pallas kernels."""

    fire: Fire = FORMS['pallas']


FUSED_BLOCKS = {'fused': FusedMSBlock, 'pallas': PallasMSBlock}

_USAGE = 'python benchmarks/neuron_forms.py --form=pallas --config=configs/NAME.py'

if __name__ == '__main__':
    jax.config.update('jax_platforms', 'cpu')
    sys.exit(main())
