"""What the layers of a network see and put out, while it runs."""

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
    """One layer, or block, at work.

    Attributes:
      module: a copy that stands alone: ``module.apply(variables, input)`` does the same again.
      path: names of the modules around it and its own, ``('stage1', 'block1', 'conv1', 'conv')``.
      variables: its own.
      input: what it was given.
      output: what it gave.
    """

    module: nn.Module
    path: tuple[str, ...]
    variables: Mapping[str, Any]
    input: jax.Array
    output: jax.Array


@contextlib.contextmanager
def capture_layers(*kinds: type[nn.Module]) -> Iterator[list[Call]]:
    """A list that gets, inside of the context, every call of a module of these kinds, in order.

    The arrays are those of the program that is traced: use them inside of the function that is
    compiled. Repeated layers have to be unrolled, see `Network.unrolled`: a scanned one is traced
    once for all.
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
