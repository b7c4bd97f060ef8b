"""Streaming rollouts (Fischer et al. 2018): every edge of a network takes one time step.

The nodes of the graph are the images, the layers of neurons or activations, and the logits. An edge
is all that lies between two nodes: convolutions, normalization, pooling, additions, shortcuts. With
``x_k`` the output of node k, all nodes are updated at once from the outputs of the step before::

    x_l[t] = f_l(sum of edges from k to l: W_kl x_k[t-1]),    x_k[-1] = 0

So a node reads what another one has put out one step earlier. That is the whole difference from the
sequential network: a node of a rollout hands on its output one step late. Over a whole sequence
this is a shift along the time axis, and step by step a state, see `snnjax.models.streaming`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


def over_time(x: jax.Array, num_steps: int) -> jax.Array:
    """(B, 1 or T, ...) -> (B, T, ...): what does not change, in every time step."""
    if x.shape[1] != 1:
        return x
    return jnp.broadcast_to(x, (x.shape[0], num_steps, *x.shape[2:]))


def delayed(module: nn.Module, x: jax.Array) -> jax.Array:
    """Returns the outputs of a node as those read it that follow: one time step late.

    If the collection ``membrane`` is mutable, the first output is the last of the call before,
    which ``module`` keeps there as ``output``; else it is 0.

    Args:
      module: bound module of the node.
      x: outputs of the node, floating array of shape (B, T, ...).
    """
    before = jnp.zeros_like(x[:, :1])
    if module.is_mutable_collection('membrane') and not module.is_initializing():
        before = module.get_variable('membrane', 'output', before)
        module.put_variable('membrane', 'output', x[:, -1:])
    return jnp.concatenate([before, x[:, :-1]], axis=1)


class ImageNode(nn.Module):
    """The images of a rollout, which the first layers read one time step late.

    Attributes:
      num_steps: number of time steps T that a static image is presented for.
    """

    num_steps: int

    def __call__(self, images: jax.Array) -> jax.Array:
        """Delays images of shape (B, 1 or T, H, W, C); returns shape (B, T, H, W, C)."""
        return delayed(self, over_time(images, self.num_steps))
