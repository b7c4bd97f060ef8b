"""Mixup and CutMix: training images blended with each other."""

from __future__ import annotations

import numpy as np

from snnjax.data.splits import Batch, Key


def mix(batch: Batch, mixup: float, cutmix: float, key: Key, total: int, share: slice) -> Batch:
    """Blends each image of a batch with its neighbour, or pastes a part of the neighbour.

    Neighbours are the first and second, third and fourth, ... of the whole batch.

    Args:
      batch: ``image`` (B, H, W, C) or (B, T, H, W, C) uint8 and ``label`` (B,), of a part of a
        whole batch; B is even. Nothing comes from images whose ``mask`` is false.
      mixup: parameter of the beta distribution of the share that stays (Zhang et al. 2018).
      cutmix: likewise, for pasting a rectangle (Yun et al. 2019). With both above 0 each batch gets
        one of them, by chance.
      key: seed.
      total: images in the whole batch, even.
      share: which part of it this is.

    Returns:
      The batch with mixed images, the neighbour's label as ``mixed_label`` (B,) int32, and the
      weight of the image's own one as ``label_weight`` (B,) float32.
    """
    rng = np.random.default_rng(key)
    paste = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if paste else mixup
    # Drawn for the whole batch, one for each pair.
    kept = np.repeat(rng.beta(alpha, alpha, total // 2), 2)
    centre = np.repeat(rng.random((total // 2, 2)), 2, axis=0)
    kept, centre = kept[share], centre[share]
    neighbour = np.arange(len(kept)) ^ 1
    if 'mask' in batch:
        kept = np.where(batch['mask'][neighbour], kept, 1.0)
    images = batch['image']
    if paste:
        height, width = images.shape[-3:-1]
        mask = _rectangles(1 - kept, centre, height, width)
        kept = 1 - mask.mean((1, 2))
        shape = (len(mask), *[1] * (images.ndim - 4), height, width, 1)
        images = np.where(mask.reshape(shape), images[neighbour], images)
    else:
        kept = kept.astype(np.float32)
        # One by one: faster than all in float32 at once.
        blended = np.empty_like(images)
        for i, weight in enumerate(kept):
            # Rounded to what can be stored: by half of a gray level at most.
            np.rint(
                images[i] * weight + images[neighbour[i]] * (1 - weight),
                out=blended[i],
                casting='unsafe',
            )
        images = blended
    return batch | {
        'image': images,
        'mixed_label': batch['label'][neighbour],
        'label_weight': kept.astype(np.float32),
    }


def _rectangles(area: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    """(B, H, W) masks of rectangles of a share of the area, but for what lies outside."""
    half = np.sqrt(area) / 2
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    in_rows = np.abs(rows - centre[:, :1]) < half[:, None]
    in_columns = np.abs(columns - centre[:, 1:]) < half[:, None]
    return in_rows[:, :, None] & in_columns[:, None, :]
