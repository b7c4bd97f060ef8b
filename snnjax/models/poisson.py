"""Images as Poisson spike trains."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from snnjax.neurons.precision import at_least_float32


class PoissonInput(nn.Module):
    """Spikes of either sign, whose mean over time is the image (Sengupta et al. 2019)::

        scale * sign(x)  with the probability |x| / scale, else 0, in each step

    What is drawn depends on the image and the step alone, not on the batch that the image is in.
    If the collection ``membrane`` is mutable, the layer continues from the step that is in it.

    Attributes:
      num_steps: time steps T.
      scale: where the parameter ``scale`` starts, the value that a spike in each step stands for.
        Larger values count as this one.
      seed: seed of the random numbers.
    """

    num_steps: int
    scale: float = 1.0
    seed: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """(B, 1, H, W, C) -> (B, T, H, W, C), in the same dtype."""
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
    """Returns a number for each image that follows from its pixels, uint32 (B,)."""
    bits = lax.bitcast_convert_type(images.astype(jnp.float32), jnp.uint32)
    bits = bits.reshape(len(images), -1)
    weights = 2 * jnp.arange(bits.shape[1], dtype=jnp.uint32) + 1
    return jnp.sum(bits * weights, axis=1, dtype=jnp.uint32)
