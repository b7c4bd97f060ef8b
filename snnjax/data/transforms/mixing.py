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
    """How each image of a part of a batch is mixed with its neighbour.

    Neighbours are the first and second, third and fourth, ... of the whole batch.

    Attributes:
      weight: (B,) float32, of the image where it is blended with its neighbour; 1 for no blending.
      box: (B, 4) int32, rows and columns from, to, from, to, that the neighbour's pixels are pasted
        to; from the same to the same for none.
      label_weight: (B,) float32, of the image's own label.
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
      mixup: parameter of the beta distribution of the share that stays (Zhang et al. 2018).
      cutmix: likewise, for pasting a rectangle (Yun et al. 2019). With both above 0 each batch gets
        one of them, by chance.
      key: seed.
      total: images in the whole batch, even.
      share: which part of it this is, of an even number of images.
      sides: height and width of the images.
      mask: (B,) bool, of the part; nothing comes from images whose ``mask`` is false.
    """
    rng = generator(key)
    paste = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if paste else mixup
    # Drawn for the whole batch, one for each pair.
    kept = np.repeat(rng.beta(alpha, alpha, total // 2), 2)
    centre = np.repeat(rng.random((total // 2, 2)), 2, axis=0)
    kept, centre = kept[share], centre[share]
    if mask is not None:
        kept = np.where(mask[neighbours(len(kept))], kept, 1.0)
    if paste:
        box = _rectangles(1 - kept, centre, *sides)
        areas = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
        kept = 1 - areas / (sides[0] * sides[1])
        weight = np.ones(len(kept), np.float32)
        return Mixing(weight, box, kept.astype(np.float32))
    weight = (np.rint(kept * _STEPS_OF_WEIGHT) / _STEPS_OF_WEIGHT).astype(np.float32)
    return Mixing(weight, np.zeros((len(kept), 4), np.int32), weight)


def neighbours(count: int) -> np.ndarray:
    """Returns the number of each image's neighbour, of an even number of images."""
    return np.arange(count) ^ 1


def mix(batch: Batch, mixing: Mixing) -> Batch:
    """Blends each image of a batch with its neighbour, or pastes a part of the neighbour.

    Args:
      batch: ``image`` (B, H, W, C) or (B, T, H, W, C) uint8 and ``label`` (B,); B is even.
      mixing: of the batch.

    Returns:
      The batch with mixed images, the neighbour's label as ``mixed_label`` (B,) int32, and the
      weight of the image's own one as ``label_weight`` (B,) float32.
    """
    images, mixed = batch['image'], batch['image'].copy()
    neighbour = neighbours(len(images))
    # One by one: faster than all in float32 at once.
    for i, (weight, (top, bottom, left, right)) in enumerate(
        zip(mixing.weight, mixing.box, strict=True)
    ):
        other = images[neighbour[i]]
        if weight != 1:
            # Rounded to what can be stored: by half of a gray level at most.
            np.rint(images[i] * weight + other * (1 - weight), out=mixed[i], casting='unsafe')
        mixed[i, ..., top:bottom, left:right, :] = other[..., top:bottom, left:right, :]
    return batch | {
        'image': mixed,
        'mixed_label': batch['label'][neighbour],
        'label_weight': mixing.label_weight,
    }


def _rectangles(area: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes (B, 4) of a share of the area, but for what lies outside; see `Mixing`."""
    half = np.sqrt(area) / 2
    sides = []
    for side, middle in zip((height, width), centre.T, strict=True):
        pixels = (np.arange(side) + 0.5) / side
        inside = np.abs(pixels - middle[:, None]) < half[:, None]
        first, number = inside.argmax(1), inside.sum(1)
        sides += [first, first + number]
    return np.stack(sides, axis=1).astype(np.int32)
