"""Norms of gradients, over all parameters and by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from snnjax.models.params import block_of, by_name, unstack_layers


def scaled_norm(leaves: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns an exponent ``n`` and the norm divided by ``2**n``, computed without overflow.

    ``2**n`` is at most the largest magnitude. A norm that would be finite without scaling has the
    same bits with it. A leaf that is not finite makes the norm infinite or NaN.
    """
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))
    _, exponent = jnp.frexp(largest)
    # Keeps 2**n and its inverse normal: normal float32 numbers begin at 2**-126.
    exponent = jnp.clip(exponent - 1, -126, 126)
    inverse = jnp.ldexp(jnp.ones_like(largest), -exponent)
    squares = [jnp.sum(jnp.square(leaf * inverse)) for leaf in leaves]
    return exponent, jnp.sqrt(sum(squares[1:], squares[0]))


def clip_by_norm(largest: float) -> optax.GradientTransformation:
    """Scales a gradient down to the norm ``largest`` if its norm is larger.

    Unlike in `optax.clip_by_global_norm`, the norm does not overflow. There, a gradient of finite
    numbers above 1e19 becomes zero.
    """

    def clip(gradient: Any, params: Any = None) -> Any:
        del params
        exponent, norm = scaled_norm(jax.tree.leaves(gradient))
        # Multiply: XLA would merge two divisions into one by a product that overflows.
        inverse = jnp.ldexp(jnp.ones_like(norm), -exponent)

        def scale(leaf: jax.Array) -> jax.Array:
            return jnp.where(norm < largest * inverse, leaf, leaf * inverse / norm * largest)

        return jax.tree.map(scale, gradient)

    return optax.stateless(clip)


def norms_by_block(gradient: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Returns the gradient norm of each block, of the stem and of the classifier.

    Args:
      gradient: the gradient, with the tree structure of the parameters, stacked or not.

    Returns:
      The norms by the name of the block, such as ``stage1/block2``, as scalars.
    """
    leaves: dict[str, list[jax.Array]] = {}
    for name, leaf in by_name(unstack_layers({'params': gradient})['params']).items():
        leaves.setdefault(block_of(name), []).append(leaf)
    norms = {}
    for block, of_block in leaves.items():
        exponent, norm = scaled_norm(of_block)
        norms[block] = jnp.ldexp(norm, exponent)
    return norms
