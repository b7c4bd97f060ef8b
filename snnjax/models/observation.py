"""Capture of the inputs and outputs of layers while a network runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from snnjax.models.activations import Activation
from snnjax.models.convolution import Conv
from snnjax.models.layers import SpikingNeurons

NEURONS = (SpikingNeurons, Activation)
SYNAPSES = (Conv, nn.Dense)


class Call(NamedTuple):
    """One call of a layer or block.

    Attributes:
      module: an unbound copy; ``module.apply(variables, input)`` repeats the call.
      path: the names of the modules around it and its own, ``('stage1', 'block1', 'conv1',
        'conv')``.
      variables: the variables of the module.
      input: the first argument of the call.
      output: the result of the call.
    """

    module: nn.Module
    path: tuple[str, ...]
    variables: Mapping[str, Any]
    input: jax.Array
    output: jax.Array


@contextlib.contextmanager
def capture_layers(*kinds: type[nn.Module]) -> Iterator[list[Call]]:
    """Yields a list that records every call of a module of these kinds, in order.

    The list grows while the context is open. The arrays are those of the program that is
    traced, so use them inside of the compiled function. Unroll repeated layers with
    `Network.unrolled` first, since scanned layers are traced only once.
    """
    calls: list[Call] = []

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        module = context.module
        if context.method_name == '__call__' and isinstance(module, kinds):
            alone = module.clone(parent=None, name=None)
            calls.append(Call(alone, module.path, module.variables, args[0], output))
        return output

    with nn.intercept_methods(intercept):
        yield calls
