"""Programs within a program, for XLA on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which XLA:CPU computes once, and not in each place that needs its result.

    XLA merges what is cheap into what reads it, and computes it again in every reader. On CPUs that
    includes a neuron's whole way through time and the normalisation before it. Elsewhere this
    does nothing.
    """

    def call(*args: Any) -> Any:
        def compiled_apart(*args: Any) -> Any:
            return set_xla_metadata(jax.jit(function)(*args), inlineable='false')

        return lax.platform_dependent(*args, cpu=compiled_apart, default=function)

    return call
