"""Programs within a program, for XLA on CPUs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


@functools.cache
def apart(function: Callable[..., Any], *constants: Hashable) -> Callable[..., Any]:
    """``function`` with its first arguments, which XLA:CPU computes once, and not in each reader.

    XLA merges what is cheap into what reads it, and computes it again in every reader. On CPUs that
    includes a neuron's whole way through time and the normalisation before it. Elsewhere this
    does nothing.

    Args:
      function: of arrays, after its constants.
      *constants: with `function` the key under which what was traced is found again.
    """
    bound = functools.partial(function, *constants)
    compiled = jax.jit(bound)

    def compiled_apart(*args: Any) -> Any:
        return set_xla_metadata(compiled(*args), inlineable='false')

    def call(*args: Any) -> Any:
        return lax.platform_dependent(*args, cpu=compiled_apart, default=bound)

    return call
