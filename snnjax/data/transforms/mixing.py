"""Mixup and CutMix: training images blended with their neighbors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnjax.data.generators import Key, generator
from snnjax.data.splits import Batch

# Weights are multiples of 2^-16, so that sums of two weighted 8-bit pixels are exact in float32.
# They are then the same on every device and in every order of computation.
_STEPS_OF_WEIGHT = 2**16


class Mixing(NamedTuple):
    """The weights and rectangles for mixing each image with its neighbor.

    Neighbors are the first and second, third and fourth, ... image of the whole batch.

    Attributes:
      weight: float32 array of shape (B,), the weight of the image in a blend with its neighbor; 1
        for no blending.
      box: int32 array of shape (B, 4): first row, row after the last, first column and column after
        the last of the rectangle that is pasted from the neighbor. An empty rectangle pastes
        nothing.
      label_weight: float32 array of shape (B,), the weight of the image's own label.
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
    """Draws the mixing of a share of a batch.

    Args:
      mixup: the parameter of the beta distribution of the image's own weight (Zhang et al. 2018);
        0 for no mixup.
      cutmix: the parameter of the same distribution for pasting a rectangle (Yun et al. 2019); 0
        for no CutMix. If both are above 0, each batch uses one of the two, chosen at random.
      key: the seed.
      total: the number of images in the whole batch, even.
      share: the slice of the whole batch, with an even number of images.
      sides: the height and width of the images.
      mask: bool array of shape (B,) for the share. Images with a false entry are not mixed into
        their neighbors.
    """
    rng = generator(key)
    paste = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if paste else mixup
    # One draw for each pair of the whole batch, so that the draws do not depend on the share.
    kept = np.repeat(rng.beta(alpha, alpha, total // 2), 2)
    center = np.repeat(rng.random((total // 2, 2)), 2, axis=0)
    kept, center = kept[share], center[share]
    if mask is not None:
        kept = np.where(mask[neighbors(len(kept))], kept, 1.0)
    if paste:
        box = _rectangles(1 - kept, center, *sides)
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
    """Blends each image of a batch with its neighbor, or pastes a part of the neighbor into it.

    Args:
      batch: a batch with ``image`` (B, H, W, C) or (B, T, H, W, C) uint8 and ``label`` (B,).
      mixing: the weights and rectangles.

    Returns:
      The batch with mixed images, the neighbor's label as ``mixed_label`` (B,) int32, and the
      weight of the image's own label as ``label_weight`` (B,) float32.
    """
    images, mixed = batch['image'], batch['image'].copy()
    neighbor = neighbors(len(images))
    # One image at a time, which is faster than the whole batch in float32.
    for i, (weight, (top, bottom, left, right)) in enumerate(
        zip(mixing.weight, mixing.box, strict=True)
    ):
        other = images[neighbor[i]]
        if weight != 1:
            # Rounding to uint8 changes a pixel by half a gray level at most.
            np.rint(images[i] * weight + other * (1 - weight), out=mixed[i], casting='unsafe')
        mixed[i, ..., top:bottom, left:right, :] = other[..., top:bottom, left:right, :]
    return batch | {
        'image': mixed,
        'mixed_label': batch['label'][neighbor],
        'label_weight': mixing.label_weight,
    }


def _rectangles(area: np.ndarray, center: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns boxes (B, 4), as in `Mixing`, with a share of the area, clipped to the image."""
    half = np.sqrt(area) / 2
    sides = []
    for side, middle in zip((height, width), center.T, strict=True):
        pixels = (np.arange(side) + 0.5) / side
        inside = np.abs(pixels - middle[:, None]) < half[:, None]
        first, number = inside.argmax(1), inside.sum(1)
        sides += [first, first + number]
    return np.stack(sides, axis=1).astype(np.int32)
