"""How large gradients are, by depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from snnjax.models.stacking import unstack_layers
from snnjax.train.weights import block_of, by_name


def norms_by_block(gradient: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The norm of a gradient by the parameters of each block, and of stem and classifier.

    Args:
      gradient: in the form of the parameters, stacked or not.

    Returns:
      Norms by the name of the block, as ``stage1/block2``.
    """
    squares: dict[str, jax.Array] = {}
    for name, leaf in by_name(unstack_layers({'params': gradient})['params']).items():
        block = block_of(name)
        squares[block] = squares.get(block, jnp.zeros(())) + jnp.sum(jnp.square(leaf))
    return {block: jnp.sqrt(square) for block, square in squares.items()}
