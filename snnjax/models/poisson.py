"""An input layer that encodes images as Poisson spike trains."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from snnjax.neurons.precision import at_least_float32


class PoissonInput(nn.Module):
    """Signed spikes with the image as their mean over time (Sengupta et al. 2019)::

        scale * sign(x)  with the probability |x| / scale, else 0, in each step

    The random numbers depend only on the image and the step, not on the rest of the batch. If the
    collection ``membrane`` is mutable, the layer continues from the step stored there.

    Attributes:
      num_steps: the number of time steps T.
      scale: the initial value of the parameter ``scale``: the image value that gives a spike in
        every step. Larger values are clipped to it.
      seed: the seed of the random numbers.
    """

    num_steps: int
    scale: float = 1.0
    seed: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps (B, 1, H, W, C) to (B, T, H, W, C), in the same dtype."""
        start = nn.initializers.constant(self.scale)
        scale = self.param('scale', start, (), jnp.float32).astype(images.dtype)
        first = jnp.zeros((), jnp.int32)
        if self.is_mutable_collection('membrane') and not self.is_initializing():
            step = self.variable('membrane', 'step', lambda: first)
            first = step.value
            step.value = first + self.num_steps
        steps = first + jnp.arange(self.num_steps)

        def draw(image: jax.Array, number: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(self.seed), number)
            keys = jax.vmap(lambda step: jax.random.fold_in(key, step))(steps)
            drawn = jax.vmap(lambda key: jax.random.uniform(key, image.shape))(keys)
            return jnp.where(drawn < jnp.abs(image) / scale, scale * jnp.sign(image), 0)

        image = images[:, 0].astype(at_least_float32(images.dtype))
        return jax.vmap(draw)(image, _number_of(image)).astype(images.dtype)


def _number_of(images: jax.Array) -> jax.Array:
    """Returns a hash of the pixels of each image, uint32 of shape (B,)."""
    bits = lax.bitcast_convert_type(images.astype(jnp.float32), jnp.uint32)
    bits = bits.reshape(len(images), -1)
    weights = 2 * jnp.arange(bits.shape[1], dtype=jnp.uint32) + 1
    return jnp.sum(bits * weights, axis=1, dtype=jnp.uint32)
