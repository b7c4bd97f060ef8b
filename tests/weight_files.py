"""Weights of networks that nobody has trained, for tests of what is done with weights."""

import math

import jax
import numpy as np


def firing_variables(model, size):
    """Variables with which neurons of all layers fire at times, no two arrays alike.

    Args:
      model: a network whose layers are not scanned.
      size: height and width of its images.
    """
    image = jax.ShapeDtypeStruct((1, size, size, model.in_channels), 'float32')
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name == 'kernel':
            drawn = rng.normal(size=leaf.shape) * math.sqrt(2 / math.prod(leaf.shape[:-1]))
        elif name in ('var', 'scale', 'threshold'):
            drawn = rng.uniform(0.3, 1, leaf.shape)
        else:
            # Above zero more often than not, or else deep layers are silent.
            drawn = rng.normal(0.1, 0.3, leaf.shape)
        return drawn.astype(leaf.dtype)

    kept = {key: shapes[key] for key in ('params', 'batch_stats')}
    return jax.tree.map_with_path(draw, kept)
