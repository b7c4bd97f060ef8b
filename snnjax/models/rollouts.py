"""Streaming rollouts (Fischer et al. 2018): every edge of a network takes one time step.

The nodes of the graph are the images, the layers of neurons or activations, and the logits. An edge
is everything between two nodes: convolutions, normalization, pooling, additions, shortcuts. With
``x_k`` the output of node k, all nodes are updated at once from the outputs of the previous step::

    x_l[t] = f_l(sum of edges from k to l: W_kl x_k[t-1]),    x_k[-1] = 0

A node reads the outputs of other nodes from one step earlier. The only difference from the
sequential network is that a node of a rollout passes on its output one step late. Over a whole
sequence this is a shift along the time axis; step by step it is a state, see
`snnjax.models.streaming`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


def over_time(x: jax.Array, num_steps: int) -> jax.Array:
    """Repeats a constant array: maps (B, 1 or T, ...) to (B, T, ...)."""
    if x.shape[1] != 1:
        return x
    return jnp.broadcast_to(x, (x.shape[0], num_steps, *x.shape[2:]))


def delayed(module: nn.Module, x: jax.Array) -> jax.Array:
    """Delays the outputs of a node by one time step, as the next nodes read them.

    If the collection ``membrane`` is mutable, the first output is the last one of the previous
    call, which ``module`` stores there as ``output``. Otherwise it is 0.

    Args:
      module: the bound module of the node.
      x: the outputs of the node, a float array of shape (B, T, ...).
    """
    before = jnp.zeros_like(x[:, :1])
    if module.is_mutable_collection('membrane') and not module.is_initializing():
        before = module.get_variable('membrane', 'output', before)
        module.put_variable('membrane', 'output', x[:, -1:])
    return jnp.concatenate([before, x[:, :-1]], axis=1)


class ImageNode(nn.Module):
    """The images of a rollout, which the first layers read one time step late.

    Attributes:
      num_steps: the number of time steps T of a static image.
    """

    num_steps: int

    def __call__(self, images: jax.Array) -> jax.Array:
        """Delays images of shape (B, 1 or T, H, W, C); returns shape (B, T, H, W, C)."""
        return delayed(self, over_time(images, self.num_steps))
