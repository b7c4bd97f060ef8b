"""Sums over images, gathered on the device, and the means they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Sums = dict[str, jax.Array]

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


def gradient_sums(norms: Mapping[str, jax.Array], images: jax.Array) -> Sums:
    """The sums ``gradient_norm/BLOCK`` of a batch, whose images all stand for its gradient."""
    return {f'{_NORM}{block}': norm * images for block, norm in norms.items()}


def means(sums: Mapping[str, float], prefix: str) -> dict[str, float]:
    """``{prefix}/loss``, ``/accuracy`` and ``/firing_rate``, means over the images.

    Also ``/gradient_norm/BLOCK``, where there are such sums.
    """
    names = _MEANS | {key: key for key in sums if key.startswith(_NORM)}
    return {f'{prefix}/{name}': sums[key] / max(sums['images'], 1) for name, key in names.items()}


def add(total: Mapping[str, float], batch: Mapping[str, Any]) -> dict[str, float]:
    """The sums of two sets of images, on the host and in double precision."""
    return {key: total.get(key, 0.0) + float(value) for key, value in batch.items()}


def fetch_late(results: Iterable[Sums]) -> Iterator[Sums]:
    """Brings each result to the host when the next is under way, so that the device never waits."""
    pending = None
    for result in results:
        if pending is not None:
            yield jax.device_get(pending)
        pending = result
    if pending is not None:
        yield jax.device_get(pending)
