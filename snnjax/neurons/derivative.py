"""A primitive that gives an array the derivatives of a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_differentiated_as_p = Primitive('differentiated_as')


def differentiated_as(
    value: jax.Array, function: Callable[..., jax.Array], *args: jax.Array
) -> jax.Array:
    """Returns ``value`` with the derivatives of ``function(*args)``.

    The function is a primitive and not a rule of `jax.custom_jvp`, because ``lax.scan`` and
    ``jax.jit`` drop such rules when a gradient inside of them is differentiated again.

    Args:
      value: a float array of the shape and dtype of ``function(*args)``.
      function: a function that can be differentiated any number of times. It is called only to take
        a derivative.
      *args: the float arrays that ``function`` takes.
    """
    return _differentiated_as_p.bind(jax.lax.stop_gradient(value), *args, function=function)


@_differentiated_as_p.def_impl
def _evaluate(value: jax.Array, *args: jax.Array, function: Any) -> jax.Array:
    del args, function
    return value


@_differentiated_as_p.def_abstract_eval
def _type(value: Any, *args: Any, function: Any) -> Any:
    del args, function
    return value


def _differentiate(
    primals: Sequence[Any], tangents: Sequence[Any], *, function: Any
) -> tuple[Any, Any]:
    _, *args = primals
    _, tangent = jax.jvp(function, args, [ad.instantiate_zeros(t) for t in tangents[1:]])
    return _differentiated_as_p.bind(*primals, function=function), tangent


def _batch(args: Sequence[Any], axes: Sequence[Any], *, function: Any) -> tuple[Any, int]:
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
    value, *args = (
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(args, axes, strict=True)
    )
    return _differentiated_as_p.bind(value, *args, function=jax.vmap(function)), 0


ad.primitive_jvps[_differentiated_as_p] = _differentiate
batching.primitive_batchers[_differentiated_as_p] = _batch
mlir.register_lowering(_differentiated_as_p, lambda ctx, value, *args, function: [value])
