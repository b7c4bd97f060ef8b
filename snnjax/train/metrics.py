"""Sums over images, gathered on the device, and the means they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NotRequired, TypedDict, TypeVar

import jax
import jax.numpy as jnp


class Sums(TypedDict):
    """Sums over the images of a batch that count, float32 scalars on the devices.

    Attributes:
      images: number of the images.
      loss: without the penalty of the optimizer.
      correct: number of those that are classified correctly.
      firing_rate: over all neurons and time steps of each image.
      gradient_norms: norm of the batch's gradient by block, times ``images``.
      stop: above 0 where a process has been asked to stop.
      fault: of `snnjax.train.finite.first_fault`.
    """

    images: jax.Array
    loss: jax.Array
    correct: jax.Array
    firing_rate: jax.Array
    gradient_norms: NotRequired[dict[str, jax.Array]]
    stop: NotRequired[jax.Array]
    fault: NotRequired[jax.Array]


_MEANS = {'loss': 'loss', 'accuracy': 'correct', 'firing_rate': 'firing_rate'}
_NORM = 'gradient_norm/'


def batch_sums(
    *,
    losses: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    firing_rates: jax.Array,
    mask: jax.Array | None = None,
) -> Sums:
    """The sums of a batch: ``images``, ``loss``, ``correct`` and ``firing_rate``, float32 scalars.

    Args:
      losses: (B,).
      logits: (B, classes).
      labels: (B,), integers.
      firing_rates: (B,), of each image over all neurons and time steps.
      mask: (B,), false for images that do not count.
    """
    weights = jnp.ones_like(losses) if mask is None else mask.astype(losses.dtype)
    correct = jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels
    return {
        'images': jnp.sum(weights),
        'loss': jnp.sum(losses * weights),
        'correct': jnp.sum(jnp.where(correct, weights, 0)),
        'firing_rate': jnp.sum(firing_rates * weights),
    }


def weighted(norms: Mapping[str, jax.Array], images: jax.Array) -> dict[str, jax.Array]:
    """Returns the norms of a batch's gradient as sums over its images, which all stand for it."""
    return {block: norm * images for block, norm in norms.items()}


def means(sums: Mapping[str, float], prefix: str) -> dict[str, float]:
    """``{prefix}/loss``, ``/accuracy`` and ``/firing_rate``, means over the images.

    Also ``/gradient_norm/BLOCK``, where there are such sums.
    """
    names = _MEANS | {key: key for key in sums if key.startswith(_NORM)}
    return {f'{prefix}/{name}': sums[key] / max(sums['images'], 1) for name, key in names.items()}


_SUMMED = ('images', *_MEANS.values())


def add(total: Mapping[str, float], batch: Sums) -> dict[str, float]:
    """Returns the sums of two sets of images, on the host and in double precision.

    Args:
      total: of images before, of this function; or nothing, ``{}``.
      batch: of further images.
    """
    new = {key: batch[key] for key in _SUMMED}  # type: ignore[literal-required]
    new |= {_NORM + block: norm for block, norm in batch.get('gradient_norms', {}).items()}
    return {key: total.get(key, 0.0) + float(value) for key, value in new.items()}


Results = TypeVar('Results')


def fetch_late(results: Iterable[Results]) -> Iterator[Results]:
    """Brings each result to the host when the next is under way, so that the device never waits."""
    pending = None
    for result in results:
        if pending is not None:
            yield jax.device_get(pending)
        pending = result
    if pending is not None:
        yield jax.device_get(pending)
