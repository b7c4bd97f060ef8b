"""Replacements of single functions of the library, measured by `gpu_variants.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snnjax.models import convolution, layers
from snnjax.neurons import NEURONS, integrate_and_fire, packed_words
from snnjax.neurons.registry import as_neuron


def fused_pallas(network: Any) -> Any:
    """Returns the network with fused blocks in Pallas kernels."""
    from fused_block import fuse

    return fuse(network, 'pallas')


def fused_xla(network: Any) -> Any:
    """Returns the network with fused blocks in plain JAX."""
    from fused_block import fuse

    return fuse(network, 'xla')


def autodiff(network: Any) -> Any:
    """Lets JAX differentiate the neurons, which stores their potentials."""
    from neuron_forms import autodiff_lif

    NEURONS['lif'] = as_neuron(autodiff_lif)
    return network.clone()


def no_barrier(network: Any) -> Any:
    """Lets XLA fuse the neurons' time loop with the operations that use it."""
    integrate_and_fire.isolate = lambda function, *constants: (
        lambda *args: function(*constants, *args)
    )
    return network


def wide_words(network: Any) -> Any:
    """Packs the bits of a neuron into 32 bits, even if fewer would do."""
    packed_words._word_dtype = lambda num_steps: jnp.uint32
    return network


def time_outermost(network: Any) -> Any:
    """Folds time into the batch as its outer axis."""

    def folded(x: jax.Array, kernel: jax.Array, stride: int, **_: object) -> jax.Array:
        steps = jnp.moveaxis(x, 1, 0)
        images = lax.conv_general_dilated(
            steps.reshape(-1, *steps.shape[2:]),
            kernel,
            (stride, stride),
            [(size // 2, size // 2) for size in kernel.shape[:2]],
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        return jnp.moveaxis(images.reshape(*steps.shape[:2], *images.shape[1:]), 0, 1)

    convolution._folded = folded
    return network


def raw_moments(network: Any) -> Any:
    """Sums values and squares without a shift, in one pass."""

    def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        axes = tuple(range(x.ndim - 1))
        numbers = x.astype(jnp.float32)
        mean, square = jnp.mean(numbers, axes), jnp.mean(jnp.square(numbers), axes)
        return mean, jnp.maximum(square - jnp.square(mean), 0.0)

    layers._channel_moments = moments
    return network


def two_pass_moments(network: Any) -> Any:
    """Sums squared deviations from the mean, in a second pass."""

    def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        axes = tuple(range(x.ndim - 1))
        numbers = x.astype(jnp.float32)
        mean = jnp.mean(numbers, axes)
        return mean, jnp.mean(jnp.square(numbers - mean), axes)

    layers._channel_moments = moments
    return network


PATCHES: dict[str, Callable[[Any], Any]] = {
    patch.__name__: patch
    for patch in (
        fused_pallas,
        fused_xla,
        autodiff,
        no_barrier,
        wide_words,
        time_outermost,
        raw_moments,
        two_pass_moments,
    )
}
"""Patches by name; each takes the network of the library and returns the one to measure."""
