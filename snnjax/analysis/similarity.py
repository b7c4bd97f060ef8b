"""Similarity of the firing patterns of successive blocks (section 4.1, figure 2b)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax.analysis.trained import ModelOnData, UnsuitableModelError
from snnjax.models.blocks import Block
from snnjax.models.layers import SpikingNeurons
from snnjax.models.observation import Call, capture_layers
from snnjax.neurons.precision import at_least_float32

# The usual constants for values between 0 and 1 (Wang et al. 2004); the paper states none.
C1, C2 = 0.01**2, 0.03**2


def ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""Computes the structural similarity of two maps of firing rates (eq. 9)::

        (2 mx my + C1) (2 sxy + C2) / ((mx^2 + my^2 + C1) (sx^2 + sy^2 + C2))

    The means, variances and covariance are over all values of a map. The similarity is between -1
    and 1; it is 1 only if the maps are equal.

    Args:
      x: the first maps, a floating array of shape (B, ...) with values between 0 and 1.
      y: the second maps, an array of the same shape and dtype.

    Returns:
      The similarities, an array of shape (B,), float32 (float64 for float64 maps).
    """
    x, y = (z.astype(at_least_float32(z.dtype)) for z in (x, y))
    axes = tuple(range(1, x.ndim))
    mean_x, mean_y = (jnp.mean(z, axes, keepdims=True) for z in (x, y))
    covariance = jnp.mean((x - mean_x) * (y - mean_y), axes)
    variances = jnp.mean((x - mean_x) ** 2, axes) + jnp.mean((y - mean_y) ** 2, axes)
    mean_x, mean_y = mean_x.reshape(-1), mean_y.reshape(-1)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    value = luminance * (2 * covariance + C2) / (variances + C2)
    # Equal maps have a similarity of exactly 1, free of rounding errors.
    return jnp.where(jnp.all(x == y, axes), 1.0, value)


@dataclasses.dataclass(frozen=True)
class Similarity:
    """The similarity of the firing patterns before and after a block.

    Attributes:
      block: the name of the block, for example ``stage1/block2``.
      ssim: the SSIM of each image, an array of shape (B,); None if the block changes the
        resolution, because its patterns cannot be compared.
      identical: the share of images with equal firing rates before and after the block, between 0
        and 1; None if ``ssim`` is None.
    """

    block: str
    ssim: np.ndarray | None
    identical: float | None

    @property
    def mean(self) -> float | None:
        """Returns the SSIM averaged over images; None if ``ssim`` is None."""
        return None if self.ssim is None else float(self.ssim.mean())

    @property
    def unchanged(self) -> bool:
        """Returns True if the block changes no firing rate, that is, each SSIM is exactly 1."""
        return self.identical == 1


def measure_similarity(trained: ModelOnData) -> list[Similarity]:
    """Measures the similarity of firing patterns before and after each block, in network order.

    A pattern is the firing rate of each neuron over time. If the residual stream is spikes, the
    pattern is that of the neurons that end a block. If the stream is real-valued, it is that of the
    neurons that begin a block, and of the last neurons of the network (figure 2a).

    Args:
      trained: the model and its examples.

    Raises:
      UnsuitableModelError: if the network has no blocks, or no spikes between its blocks.
    """
    model = trained.model

    def step(variables: Any, batch: Mapping[str, jax.Array]) -> Any:
        with capture_layers(Block, SpikingNeurons) as calls:
            model.apply(variables, trained.normalized(batch))
        # Firing rates are in float32: bfloat16 would round them to three digits.
        patterns = [
            jnp.mean(spikes, axis=1, dtype=at_least_float32(spikes.dtype))
            for spikes in _patterns(calls)
        ]
        by_block = [
            {'ssim': ssim(x, y), 'same': jnp.all(x == y, axis=(1, 2, 3))}
            if x.shape == y.shape
            else None
            for x, y in itertools.pairwise(patterns)
        ]
        return by_block, batch['mask']

    batches = [
        jax.tree.map(lambda values, mask=mask: values[mask], by_block)
        for by_block, mask in trained.measure(step, 'comparing patterns')
    ]
    return [
        Similarity(name, None, None)
        if parts[0] is None
        else Similarity(
            name,
            np.concatenate([part['ssim'] for part in parts]),
            float(np.concatenate([part['same'] for part in parts]).mean()),
        )
        for name, *parts in zip(model.block_names, *batches, strict=True)
    ]


def _patterns(calls: Sequence[Call]) -> list[jax.Array]:
    """Returns the spikes before the first block and after each block; see `measure_similarity`."""
    blocks = [call for call in calls if isinstance(call.module, Block)]
    if not blocks:
        raise UnsuitableModelError('the network has no blocks: give a residual network')
    neurons = [call for call in calls if isinstance(call.module, SpikingNeurons)]
    spikes = {id(call.output): call.output for call in neurons}
    spikes |= {id(call.input): call.output for call in neurons}
    stream = [*(block.input for block in blocks), blocks[-1].output]
    if any(id(x) not in spikes for x in stream):
        kind = type(blocks[0].module).__name__
        raise UnsuitableModelError(
            f'no neurons fire directly before or after the residual stream of {kind}: '
            f'its blocks have no firing patterns to compare'
        )
    return [spikes[id(x)] for x in stream]
