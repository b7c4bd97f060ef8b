"""Programs within a program, which XLA does not merge with what reads their results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


@functools.cache
def isolate(function: Callable[..., Any], *constants: Hashable) -> Callable[..., Any]:
    """``function`` with its first arguments, which XLA computes once, and not in each reader.

    XLA merges what is cheap into what reads it, and computes it again in every reader. That
    includes a neuron's whole way through time: on TPUs each step of the backward pass then read the
    current of all steps before it, on CPUs the normalisation before it was merged in, too. A
    barrier prevents it, except on CPUs, where XLA removes barriers before it merges; there a call
    that is not inlined does.

    Args:
      function: of arrays, after its constants.
      *constants: with `function` the key under which what was traced is found again.
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
