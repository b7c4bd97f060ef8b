"""Evaluation on all images of a split."""

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
    """Returns ``eval/loss``, ``eval/accuracy`` and ``eval/firing_rate``, averaged over all images.

    Args:
      inference: the compiled functions of the network.
      variables: the variables of the model, on the devices.
      split: the images.
      batch_size: the number of images in a batch, over all devices.
      data: the options of the data, of which ``workers`` and ``max_skipped`` are used.
      shown: the text in front of a progress bar; '' for no bar.

    Returns:
      The means; also ``eval/accuracy_top5`` with more than ten classes, and ``eval/skipped``, the
      number of photos that could not be decoded and do not count, if it is not 0.

    Raises:
      DecodeError: if a photo cannot be decoded, or more of them than may be skipped.
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
