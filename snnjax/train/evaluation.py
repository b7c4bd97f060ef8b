"""Evaluation over every image of a split, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

from snnjax.data import DataOptions, Split
from snnjax.data.pipeline import EvaluationBatches
from snnjax.train import metrics
from snnjax.train.log import check_skipped
from snnjax.train.program import Inference
from snnjax.train.progress import watched
from snnjax.train.sharding import put_batch


def evaluate(
    inference: Inference,
    variables: Mapping[str, Any],
    split: Split,
    batch_size: int,
    data: DataOptions | ml_collections.ConfigDict,
    *,
    shown: str = '',
) -> dict[str, float]:
    """``eval/loss``, ``eval/accuracy`` and ``eval/firing_rate``: means over every image once.

    Args:
      inference: of the network.
      variables: of the model, as they lie on the devices.
      split: the images.
      batch_size: over all devices.
      data: for ``workers`` and ``max_skipped``.
      shown: text in front of a progress bar; '' for no bar.

    Returns:
      The means; also ``eval/accuracy_top5`` where there are more than ten classes, and
      ``eval/skipped`` where photos could not be decoded, and do not count.

    Raises:
      DecodeError: for a photo that cannot be decoded, or too many of them to skip.
    """
    batches = EvaluationBatches(
        split, batch_size, process_index=jax.process_index(), process_count=jax.process_count()
    )
    made = batches.iterate(data.workers)
    if shown:
        made = watched(made, shown, len(batches))
    results = (inference.eval_step(variables, put_batch(b, inference.batch_sharding)) for b in made)
    total: dict[str, float] = {}
    for sums in metrics.fetch_at_end(results):
        total = metrics.add(total, sums)
    skipped = len(split) - int(total['images'])
    check_skipped(skipped, data.max_skipped)
    return metrics.means(total, 'eval') | ({'eval/skipped': skipped} if skipped else {})
