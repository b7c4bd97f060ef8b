"""Small ANNs with weights that were drawn, and images for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from snnjax import create_model
from snnjax.conversion import Ann, Batch, Calibration

SHAPE = (8, 8, 3)
RESNET = {'blocks': (1, 1), 'widths': (4, 6), 'strides': (1, 2)}
VGG = {'blocks': (1, 1), 'widths': (4, 6), 'hidden': (5,)}
SENGUPTA = {'blocks': (1, 1), 'widths': (4, 6), 'strides': (1, 2)}


@functools.cache
def make(name='relu_resnet8', seed=0, **options):
    """An ANN whose normalization is not that of its start."""
    model = create_model(name, **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *SHAPE)))
    rng = np.random.default_rng(seed)
    drawn = {key: shapes.get(key, {}) for key in ('params', 'batch_stats')}

    def draw(path, leaf):
        kind = path[-1].key
        if kind == 'kernel':
            fan_in = np.prod(leaf.shape[:-1])
            return rng.normal(0, np.sqrt(2 / fan_in), leaf.shape).astype(np.float32)
        if kind in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        if kind in ('bias', 'mean'):
            return rng.uniform(-0.2, 0.2, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, 2.0, np.float32)  # Bounds of activations.

    return Ann(model, jax.tree.map_with_path(draw, drawn), SHAPE)


def images(count=8, seed=1):
    return np.random.default_rng(seed).normal(0, 1, (count, *SHAPE)).astype(np.float32)


def calibration(x=None, parts=1):
    """Images in as many batches."""
    x = images() if x is None else x
    batches = [
        Batch(jnp.asarray(part), np.arange(len(part)) % 10, np.ones(len(part), bool))
        for part in np.split(x, parts)
    ]
    return Calibration(lambda: iter(batches), len(x))
