"""The splits of data sets, by kind: arrays in memory, encoded photos, event recordings.

Each kind makes one process's share of a training batch, given the indices of all examples of the
batch. Random numbers come from generators seeded with ``key`` and do not depend on the share.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from absl import logging

from snnjax.data.generators import Key, generator
from snnjax.data.records import Records
from snnjax.data.sources.event_files import Events
from snnjax.data.sources.event_sets import unpack
from snnjax.data.transforms.augment import (
    ImageAugmentation,
    crop,
    draw_flips,
    draw_offsets,
    flip,
)
from snnjax.data.transforms.frames import EventAugmentation
from snnjax.data.transforms.framing import Framing
from snnjax.data.transforms.images import DecodeError, center_crop, random_resized_crop

Batch = dict[str, np.ndarray]


def _generators(key: Key, total: int, share: slice) -> list[np.random.Generator]:
    """Returns a generator for each example of a share.

    The generator of an example does not depend on the share. Its key ends with the place of the
    example in the batch; that of the first example ends with ``total`` instead of 0. NumPy gives
    ``(*key, 0)`` the same seed as ``key``, which is used for draws of the whole batch.
    """
    return [generator((*key, slot or total)) for slot in np.arange(total)[share]]


class Split(Protocol):
    """The examples of a split of a data set."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Returns a share of a training batch, with random augmentation.

        Args:
          chosen: the indices of all examples of the batch.
          key: the seed of the augmentation.
          share: the slice of ``chosen`` to return.

        Returns:
          ``image`` uint8 and ``label`` (B,) int32; and ``mask`` (B,) bool if images may be missing.
        """
        ...

    def examples(self, numbers: np.ndarray) -> Batch:
        """Returns examples for testing, without augmentation.

        Args:
          numbers: the indices of the examples.

        Returns:
          ``image`` uint8, ``label`` (B,) int32, and ``mask`` (B,) bool, which is false for images
          that must be ignored.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class EvenlySpaced:
    """An evenly spaced part of a split, since a split may be sorted by class.

    Attributes:
      split: the whole split.
      count: the number of examples to take.
    """

    split: Split
    count: int

    def __len__(self) -> int:
        return self.count

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Returns a share of a training batch, as `Split` does."""
        return self.split.training_batch(self._all(chosen), key, share)

    def examples(self, numbers: np.ndarray) -> Batch:
        """Returns examples for testing, as `Split` does."""
        return self.split.examples(self._all(numbers))

    def _all(self, numbers: np.ndarray) -> np.ndarray:
        return numbers * len(self.split) // self.count


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySplit:
    """Images and labels in memory.

    Attributes:
      images: uint8 array of shape (N, H, W, C).
      labels: int32 array of shape (N,).
      crop_padding: the largest shift of a training image in pixels, as in `crop`; 0 for none.
      flip: true to mirror half of the training images.
      augment: the further augmentation of a training image; None for none.
    """

    images: np.ndarray
    labels: np.ndarray
    crop_padding: int = 0
    flip: bool = False
    augment: ImageAugmentation | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sides(self) -> tuple[int, int]:
        """Returns the height and width of the images."""
        height, width = self.images.shape[1:3]
        return height, width

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Returns a share of a training batch, as `Split` does."""
        recipe = self._draw(chosen, key, share)
        images = self.images[recipe['number']]
        if 'offset' in recipe:
            images = crop(images, recipe['offset'], self.crop_padding)
        if 'flipped' in recipe:
            images = flip(images, recipe['flipped'])
        if self.augment:
            rngs = _generators(key, len(chosen), share)
            images = np.stack([self.augment(*pair) for pair in zip(images, rngs, strict=True)])
        return {'image': images, 'label': recipe['label']}

    def recipe(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Draws the random numbers of `training_batch`, without making images.

        A recipe does not include the changes that Pillow makes.

        Args:
          chosen: the indices of all examples of the batch.
          key: the seed of the augmentation.
          share: the slice of ``chosen`` to return.

        Returns:
          ``number``, the indices of the images, and ``label``, both (B,) int32. If the split makes
          these changes, also ``offset`` (B, 2) int32 for `crop`; ``flipped`` (B,) bool; and
          ``erased`` (B, 4) int32, boxes as in `snnjax.data.transforms.mixing.Mixing` to be filled
          from ``noise`` (B, H, W, C) uint8.
        """
        recipe = self._draw(chosen, key, share)
        if self.augment and self.augment.erases:
            shape = self.images.shape[1:]
            noise = np.zeros((len(recipe['label']), *shape), np.uint8)
            boxes = np.zeros((len(noise), 4), np.int32)
            for i, rng in enumerate(_generators(key, len(chosen), share)):
                erased = self.augment.draw_erased(shape, rng)
                if erased:
                    top, bottom, left, right = boxes[i] = erased.box
                    noise[i, top:bottom, left:right] = erased.pixels
            recipe |= {'erased': boxes, 'noise': noise}
        return recipe

    def _draw(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        numbers = chosen[share]
        recipe = {'number': numbers.astype(np.int32), 'label': self.labels[numbers]}
        # Drawn for the whole batch, so that the numbers do not depend on the share.
        rng = generator(key)
        if self.crop_padding:
            recipe['offset'] = draw_offsets(len(chosen), self.crop_padding, rng)[share]
        if self.flip:
            recipe['flipped'] = draw_flips(len(chosen), rng)[share]
        return recipe

    def examples(self, numbers: np.ndarray) -> Batch:
        """Returns examples for testing, as `Split` does."""
        return {
            'image': self.images[numbers],
            'label': self.labels[numbers],
            'mask': np.ones(len(numbers), bool),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class EventSplit:
    """Event recordings, converted to frames on access.

    Attributes:
      records: the records, as `snnjax.data.sources.event_sets` stores them.
      numbers: the indices of the records in this split, integers of shape (N,).
      height: the number of rows of the camera.
      width: the number of columns of the camera.
      frame: the conversion of events to frames.
      augment: the augmentation of a training recording.
    """

    records: Records
    numbers: np.ndarray
    height: int
    width: int
    frame: Framing
    augment: EventAugmentation

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def sides(self) -> tuple[int, int]:
        """Returns the height and width of the frames."""
        factor = self.frame.downsample
        return self.height // factor, self.width // factor

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Returns a share of a training batch, as `Split` does."""
        events, labels = self.recordings(chosen[share])
        rngs = _generators(key, len(chosen), share)
        changed = [self.augment(*pair) for pair in zip(events, rngs, strict=True)]
        return {'image': np.stack([self.frame(e) for e in changed]), 'label': labels}

    def recipe(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Draws the random numbers of `training_batch`, without making frames.

        A recipe can include mirroring only; other augmentation changes the events of a frame.

        Args:
          chosen: the indices of all examples of the batch.
          key: the seed of the augmentation.
          share: the slice of ``chosen`` to return.

        Returns:
          ``number``, the indices of the recordings, and ``label``, both (B,) int32; and ``flipped``
          (B,) bool if recordings are mirrored.
        """
        numbers = chosen[share]
        recipe = {'number': numbers.astype(np.int32), 'label': self.labels[numbers]}
        if self.augment.flip:
            rngs = _generators(key, len(chosen), share)
            recipe['flipped'] = np.array([self.augment.draw_flip(rng) for rng in rngs], bool)
        return recipe

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Returns the labels of all recordings, an int32 array of shape (N,)."""
        read = self.records.read(self.numbers)  # type: ignore[arg-type]
        return np.array([example['label'] for example in read], np.int32)

    def examples(self, numbers: np.ndarray) -> Batch:
        """Returns examples for testing, as `Split` does."""
        events, labels = self.recordings(numbers)
        return {
            'image': np.stack([self.frame(e) for e in events]),
            'label': labels,
            'mask': np.ones(len(numbers), bool),
        }

    def recordings(self, numbers: np.ndarray) -> tuple[list[Events], np.ndarray]:
        """Returns recordings without augmentation, and their labels, (N,) int32.

        Args:
          numbers: the indices of the recordings in the split.
        """
        examples = self.records.read(self.numbers[numbers])
        labels = np.array([example['label'] for example in examples], np.int32)
        return [unpack(example, self.height, self.width) for example in examples], labels


@dataclasses.dataclass(frozen=True)
class TrainingPhoto:
    """The conversion of an encoded photo to a training image.

    Attributes:
      size: the side of the image in pixels.
      min_scale: the smallest share of the area, as in `random_resized_crop`.
      augment: the augmentation of the image.
    """

    size: int
    min_scale: float
    augment: ImageAugmentation

    def __call__(self, data: bytes, rng: np.random.Generator) -> np.ndarray:
        """Returns the image, (size, size, 3) uint8.

        Args:
          data: the encoded photo.
          rng: the generator of the crop and the augmentation.

        Raises:
          DecodeError: if the photo is damaged or truncated.
        """
        return self.augment(random_resized_crop(data, self.size, rng, self.min_scale), rng)


@dataclasses.dataclass(frozen=True)
class EvaluationPhoto:
    """The conversion of an encoded photo to a test image.

    Attributes:
      size: the side of the image in pixels.
      resize: the shorter side of the resized photo in pixels, as in `center_crop`.
    """

    size: int
    resize: int

    def __call__(self, data: bytes) -> np.ndarray:
        """Returns the image, (size, size, 3) uint8.

        Raises:
          DecodeError: if the photo is damaged or truncated.
        """
        return center_crop(data, self.resize, self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoSplit:
    """Encoded photos, decoded on access.

    Attributes:
      records: the records, with ``image`` (bytes), ``label`` and ``name``.
      numbers: the indices of the records in this split, integers of shape (N,).
      train: the conversion to a training image.
      test: the conversion to a test image.
      skip: true to skip photos that cannot be decoded, instead of raising `DecodeError`. A skipped
        photo is black, and its ``mask`` is false.
    """

    records: Records
    numbers: np.ndarray
    train: TrainingPhoto
    test: EvaluationPhoto
    skip: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Returns a share of a training batch, as `Split` does.

        Raises:
          DecodeError: if a photo cannot be decoded, unless `skip` is true.
        """
        rngs = _generators(key, len(chosen), share)
        decoders = [functools.partial(self.train, rng=rng) for rng in rngs]
        batch = self._decode(chosen[share], decoders, self.train.size)
        # Without the mask, if no image can be missing, the training step is simpler.
        return batch if self.skip else {k: v for k, v in batch.items() if k != 'mask'}

    def examples(self, numbers: np.ndarray) -> Batch:
        """Returns examples for testing, as `Split` does.

        Raises:
          DecodeError: if a photo cannot be decoded, unless `skip` is true.
        """
        return self._decode(numbers, [self.test] * len(numbers), self.test.size)

    def _decode(
        self, numbers: np.ndarray, decoders: Sequence[Callable[[bytes], np.ndarray]], size: int
    ) -> Batch:
        examples = self.records.read(self.numbers[numbers])
        images = np.zeros((len(examples), size, size, 3), np.uint8)
        decoded = np.ones(len(examples), bool)
        for i, (example, decode) in enumerate(zip(examples, decoders, strict=True)):
            try:
                images[i] = decode(example['image'])
            except DecodeError as error:
                name = example['name'].decode()
                if not self.skip:
                    raise DecodeError(f'{name}: {error}') from error
                logging.error('skipped %s: %s', name, error)
                decoded[i] = False
        labels = np.array([example['label'] for example in examples], np.int32)
        return {'image': images, 'label': labels, 'mask': decoded}
