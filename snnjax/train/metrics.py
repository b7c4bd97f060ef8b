"""Sums of metrics over images, and their means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NotRequired, TypedDict, TypeVar

import jax
import jax.numpy as jnp


class Sums(TypedDict):
    """Sums over the images of a batch that count, as float32 scalars on the devices.

    Attributes:
      images: the number of images.
      loss: the sum of the losses, without the L2 penalty of the optimizer.
      correct: the number of correctly classified images.
      correct_top5: the number of images whose label is among the five highest scores.
      firing_rate: the sum of the images' firing rates over all neurons and time steps.
      gradient_norms: the gradient norm of the batch by block, times ``images``.
      stop: a number above 0 if a process was asked to stop.
      save: a number above 0 if a checkpoint is due.
      fault: the result of `snnjax.train.finite.first_fault`.
    """

    images: jax.Array
    loss: jax.Array
    correct: jax.Array
    correct_top5: NotRequired[jax.Array]
    firing_rate: jax.Array
    gradient_norms: NotRequired[dict[str, jax.Array]]
    stop: NotRequired[jax.Array]
    save: NotRequired[jax.Array]
    fault: NotRequired[jax.Array]


_MEANS = {'loss': 'loss', 'accuracy': 'correct', 'firing_rate': 'firing_rate'}
_OPTIONAL_MEANS = {'accuracy_top5': 'correct_top5'}
_NORM = 'gradient_norm/'


def batch_sums(
    *,
    losses: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    firing_rates: jax.Array,
    mask: jax.Array | None = None,
) -> Sums:
    """Returns ``images``, ``loss``, ``correct`` and ``firing_rate`` of a batch, float32 scalars.

    Args:
      losses: a float array (B,).
      logits: a float array (B, classes).
      labels: an integer array (B,).
      firing_rates: a float array (B,), the mean over all neurons and time steps of each image.
      mask: an array (B,), false for images that do not count; None if all count.
    """
    weights = jnp.ones_like(losses) if mask is None else mask.astype(losses.dtype)
    correct = jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels
    return {
        'images': jnp.sum(weights),
        'loss': jnp.sum(losses * weights),
        'correct': jnp.sum(jnp.where(correct, weights, 0)),
        'firing_rate': jnp.sum(firing_rates * weights),
    }


def correct_top5(logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Counts the images whose label is among the five highest scores, as a float32 scalar.

    Of equal scores, the one with the lower index counts as higher.

    Args:
      logits: a float array (B, classes).
      labels: an integer array (B,).
      mask: an array (B,), false for images that do not count; None if all count.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = jnp.arange(logits.shape[-1], dtype=labels.dtype) < labels[:, None]
    above = jnp.sum((logits > own) | ((logits == own) & earlier), axis=-1)
    among = above < 5
    return jnp.sum(among if mask is None else among & mask.astype(bool), dtype=jnp.float32)


def weighted(norms: Mapping[str, jax.Array], images: jax.Array) -> dict[str, jax.Array]:
    """Multiplies gradient norms by the number of images, so that averaging recovers the norm."""
    return {block: norm * images for block, norm in norms.items()}


def means(sums: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Returns ``{prefix}/loss``, ``/accuracy`` and ``/firing_rate``, averaged over the images.

    ``/accuracy_top5`` and ``/gradient_norm/BLOCK`` are included if ``sums`` has them.
    """
    optional = {name: key for name, key in _OPTIONAL_MEANS.items() if key in sums}
    names = _MEANS | optional | {key: key for key in sums if key.startswith(_NORM)}
    return {f'{prefix}/{name}': sums[key] / max(sums['images'], 1) for name, key in names.items()}


_SUMMED = ('images', *_MEANS.values())


def add(total: Mapping[str, float], batch: Sums) -> dict[str, float]:
    """Returns the sums of two sets of images, on the host and in double precision.

    Args:
      total: a previous result of this function, or ``{}``.
      batch: the sums of further images.
    """
    optional = [key for key in _OPTIONAL_MEANS.values() if key in batch]
    new = {key: batch[key] for key in (*_SUMMED, *optional)}  # type: ignore[literal-required]
    new |= {_NORM + block: norm for block, norm in batch.get('gradient_norms', {}).items()}
    return {key: total.get(key, 0.0) + float(value) for key, value in new.items()}


Results = TypeVar('Results')


def fetch_late(results: Iterable[Results]) -> Iterator[Results]:
    """Fetches each result while the next one is computed, so that the device never waits."""
    pending = None
    for result in results:
        if pending is not None:
            yield jax.device_get(pending)
        pending = result
    if pending is not None:
        yield jax.device_get(pending)


def fetch_at_end(results: Iterable[Results]) -> list[Results]:
    """Fetches small results from the devices after the last one.

    The host runs at most two results ahead of the devices, which bounds the memory for batches.
    """
    all_of_them: list[Results] = []
    for result in results:
        all_of_them.append(result)
        jax.block_until_ready(all_of_them[-3:-2])
    return jax.device_get(all_of_them)
