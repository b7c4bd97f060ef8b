"""Subprograms that XLA does not fuse into the consumers of their results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


@functools.cache
def isolate(function: Callable[..., Any], *constants: Hashable) -> Callable[..., Any]:
    """Returns ``function`` with its first arguments bound, computed by XLA only once.

    XLA fuses cheap computations into every consumer and repeats them in each. That included a
    neuron's whole loop over time: on TPUs each step of the backward pass read the current of all
    earlier steps, and on CPUs the normalization before the neurons was fused in, too. A barrier
    prevents this, except on CPUs, where XLA removes barriers before fusion. There a call that is
    not inlined prevents it.

    Args:
      function: a function of the constants and then of arrays.
      *constants: the first arguments. Results are cached by function and constants, so that the
        traced program is found again.
    """
    bound = functools.partial(function, *constants)
    compiled = jax.jit(bound)

    def called(*args: Any) -> Any:
        return set_xla_metadata(compiled(*args), inlineable='false')

    def fenced(*args: Any) -> Any:
        return lax.optimization_barrier(bound(*args))

    def call(*args: Any) -> Any:
        return lax.platform_dependent(*args, cpu=called, default=fenced)

    return call
