"""Mixup and CutMix: training images blended with each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnjax.data.generators import Key, generator
from snnjax.data.splits import Batch

# Weights are multiples of 2^-16: sums of two weighted pixels of 8 bits are then exact in float32,
# and the same on every device, in whatever order they are computed.
_STEPS_OF_WEIGHT = 2**16


class Mixing(NamedTuple):
    """Holds how each image is mixed with its neighbor.

    Neighbors are the first and second, third and fourth, ... image of the whole batch.

    Attributes:
      weight: float32 array (B,), the weight of the image when it is blended with its neighbor; 1
        for no blending.
      box: int32 array (B, 4): first row, row after the last, first column and column after the last
        of the rectangle that is pasted from the neighbor. Empty rectangles paste nothing.
      label_weight: float32 array (B,), the weight of the image's own label.
    """

    weight: np.ndarray
    box: np.ndarray
    label_weight: np.ndarray


def draw_mixing(
    mixup: float,
    cutmix: float,
    key: Key,
    total: int,
    share: slice,
    sides: tuple[int, int],
    mask: np.ndarray | None = None,
) -> Mixing:
    """Draws how a part of a batch is mixed.

    Args:
      mixup: The parameter of the beta distribution of the share that stays (Zhang et al. 2018).
      cutmix: The same parameter for pasting a rectangle (Yun et al. 2019). If both are above 0,
        each batch uses one of the two, chosen at random.
      key: The seed.
      total: The number of images in the whole batch, even.
      share: The slice of the whole batch that this part is, with an even number of images.
      sides: Height and width of the images.
      mask: bool array (B,) of the part. Nothing is taken from images whose entry is false.
    """
    rng = generator(key)
    paste = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if paste else mixup
    # Drawn for the whole batch, one for each pair.
    kept = np.repeat(rng.beta(alpha, alpha, total // 2), 2)
    centre = np.repeat(rng.random((total // 2, 2)), 2, axis=0)
    kept, centre = kept[share], centre[share]
    if mask is not None:
        kept = np.where(mask[neighbors(len(kept))], kept, 1.0)
    if paste:
        box = _rectangles(1 - kept, centre, *sides)
        areas = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
        kept = 1 - areas / (sides[0] * sides[1])
        weight = np.ones(len(kept), np.float32)
        return Mixing(weight, box, kept.astype(np.float32))
    weight = (np.rint(kept * _STEPS_OF_WEIGHT) / _STEPS_OF_WEIGHT).astype(np.float32)
    return Mixing(weight, np.zeros((len(kept), 4), np.int32), weight)


def neighbors(count: int) -> np.ndarray:
    """Returns the index of each image's neighbor in a batch of ``count`` images."""
    return np.arange(count) ^ 1


def mix(batch: Batch, mixing: Mixing) -> Batch:
    """Blends each image of a batch with its neighbor, or pastes a part of the neighbor.

    Args:
      batch: A batch with ``image`` (B, H, W, C) or (B, T, H, W, C) uint8 and ``label`` (B,).
      mixing: How to mix it.

    Returns:
      The batch with mixed images, the neighbor's label as ``mixed_label`` (B,) int32, and the
      weight of the image's own one as ``label_weight`` (B,) float32.
    """
    images, mixed = batch['image'], batch['image'].copy()
    neighbor = neighbors(len(images))
    # One by one: faster than all in float32 at once.
    for i, (weight, (top, bottom, left, right)) in enumerate(
        zip(mixing.weight, mixing.box, strict=True)
    ):
        other = images[neighbor[i]]
        if weight != 1:
            # Rounded to what can be stored: by half of a gray level at most.
            np.rint(images[i] * weight + other * (1 - weight), out=mixed[i], casting='unsafe')
        mixed[i, ..., top:bottom, left:right, :] = other[..., top:bottom, left:right, :]
    return batch | {
        'image': mixed,
        'mixed_label': batch['label'][neighbor],
        'label_weight': mixing.label_weight,
    }


def _rectangles(area: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns boxes (B, 4) with a share of the area, clipped to the image; see `Mixing`."""
    half = np.sqrt(area) / 2
    sides = []
    for side, middle in zip((height, width), centre.T, strict=True):
        pixels = (np.arange(side) + 0.5) / side
        inside = np.abs(pixels - middle[:, None]) < half[:, None]
        first, number = inside.argmax(1), inside.sum(1)
        sides += [first, first + number]
    return np.stack(sides, axis=1).astype(np.int32)
