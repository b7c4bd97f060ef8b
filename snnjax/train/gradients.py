"""Norms of gradients, of all parameters and by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from snnjax.models.params import block_of, by_name, unstack_layers


def scaled_norm(leaves: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns an exponent ``n`` and the norm divided by ``2**n``, which no square overflows in.

    ``2**n`` is at or below the largest magnitude, so that the norm has the bits that it has without
    it, where that is finite. A leaf that is not finite makes the norm infinite or NaN.
    """
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))
    _, exponent = jnp.frexp(largest)
    # Of normal numbers, as the inverse is: those of float32 begin at 2**-126.
    exponent = jnp.clip(exponent - 1, -126, 126)
    inverse = jnp.ldexp(jnp.ones_like(largest), -exponent)
    squares = [jnp.sum(jnp.square(leaf * inverse)) for leaf in leaves]
    return exponent, jnp.sqrt(sum(squares[1:], squares[0]))


def clip_by_norm(largest: float) -> optax.GradientTransformation:
    """Scales a gradient down to a norm of ``largest`` where its norm is larger.

    `optax.clip_by_global_norm` with a norm that does not overflow: there a gradient of finite
    numbers above 1e19 becomes zero.
    """

    def clip(gradient: Any, params: Any = None) -> Any:
        del params
        exponent, norm = scaled_norm(jax.tree.leaves(gradient))
        # Multiplied, not divided: XLA makes of two divisions one by a product that overflows.
        inverse = jnp.ldexp(jnp.ones_like(norm), -exponent)

        def scale(leaf: jax.Array) -> jax.Array:
            return jnp.where(norm < largest * inverse, leaf, leaf * inverse / norm * largest)

        return jax.tree.map(scale, gradient)

    return optax.stateless(clip)


def norms_by_block(gradient: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The norm of a gradient by the parameters of each block, and of stem and classifier.

    Args:
      gradient: in the form of the parameters, stacked or not.

    Returns:
      Norms by the name of the block, as ``stage1/block2``.
    """
    leaves: dict[str, list[jax.Array]] = {}
    for name, leaf in by_name(unstack_layers({'params': gradient})['params']).items():
        leaves.setdefault(block_of(name), []).append(leaf)
    norms = {}
    for block, of_block in leaves.items():
        exponent, norm = scaled_norm(of_block)
        norms[block] = jnp.ldexp(norm, exponent)
    return norms
