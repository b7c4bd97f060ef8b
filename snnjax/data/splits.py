"""The examples of a split, by kind: arrays in memory, encoded photos, recordings of events.

Each kind makes a part of a training batch from the numbers of the examples of all of it. What is
random is drawn from generators seeded with ``key``, and does not depend on which part it is.
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
from snnjax.data.transforms.images import DecodeError, centre_crop, random_resized_crop

Batch = dict[str, np.ndarray]


def _generators(key: Key, total: int, share: slice) -> list[np.random.Generator]:
    """One for each example of a share of a batch, the same whichever share it is in.

    The key of the first example ends with ``total``, which is no other one's index: NumPy takes
    ``(*key, 0)`` and ``key``, which is drawn from for the whole batch, for the same seed.
    """
    return [generator((*key, slot or total)) for slot in np.arange(total)[share]]


class Split(Protocol):
    """Examples that batches are made of."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """``image`` uint8, ``label`` (B,) int32, and ``mask`` (B,) bool where some may be missing.

        Args:
          chosen: numbers of all examples of a batch.
          key: seed of what is random in it.
          share: which ones are wanted.
        """
        ...

    def examples(self, numbers: np.ndarray) -> Batch:
        """The same for testing: nothing random. ``mask`` is false for what has to be left out."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class EvenlySpaced:
    """Some examples of a split, at even distances: its classes may follow each other.

    Attributes:
      split: all of them.
      count: how many to take.
    """

    split: Split
    count: int

    def __len__(self) -> int:
        return self.count

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`."""
        return self.split.training_batch(self._all(chosen), key, share)

    def examples(self, numbers: np.ndarray) -> Batch:
        """See `Split`."""
        return self.split.examples(self._all(numbers))

    def _all(self, numbers: np.ndarray) -> np.ndarray:
        return numbers * len(self.split) // self.count


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySplit:
    """Images and labels in memory.

    Attributes:
      images: (N, H, W, C) uint8.
      labels: (N,) int32.
      crop_padding: pixels that a training image is moved by at most, see `crop`; 0 for none.
      flip: whether half of the training images are mirrored.
      augment: changes a training image; None for nothing.
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
        """Height and width of the images."""
        height, width = self.images.shape[1:3]
        return height, width

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`."""
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

        Changes that Pillow makes are not part of a recipe.

        Args:
          chosen: The indices of all examples of the batch.
          key: The seed.
          share: The slice of the examples that are wanted.

        Returns:
          ``number``, the indices of the images, and ``label``, both (B,) int32. If the split makes
          these changes, also ``offset`` (B, 2) int32 for `crop`; ``flipped`` (B,) bool; and
          ``erased`` (B, 4) int32, boxes as in `snnjax.data.transforms.mixing.Mixing` that are
          filled from ``noise`` (B, H, W, C) uint8.
        """
        recipe = self._draw(chosen, key, share)
        if self.augment and self.augment.random_erasing:
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
        # Drawn for the whole batch, so that it does not depend on the share.
        rng = generator(key)
        if self.crop_padding:
            recipe['offset'] = draw_offsets(len(chosen), self.crop_padding, rng)[share]
        if self.flip:
            recipe['flipped'] = draw_flips(len(chosen), rng)[share]
        return recipe

    def examples(self, numbers: np.ndarray) -> Batch:
        """See `Split`."""
        return {
            'image': self.images[numbers],
            'label': self.labels[numbers],
            'mask': np.ones(len(numbers), bool),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class EventSplit:
    """Recordings, framed when they are loaded.

    Attributes:
      records: as `snnjax.data.sources.event_sets` stores them.
      numbers: of those of the records that are of this split.
      height: of the camera.
      width: likewise.
      frame: makes frames of events.
      augment: changes a training recording.
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
        """Height and width of the frames."""
        factor = self.frame.downsample
        return self.height // factor, self.width // factor

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`."""
        events, labels = self.recordings(chosen[share])
        rngs = _generators(key, len(chosen), share)
        changed = [self.augment(*pair) for pair in zip(events, rngs, strict=True)]
        return {'image': np.stack([self.frame(e) for e in changed]), 'label': labels}

    def recipe(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """Draws the random numbers of `training_batch`, without making frames.

        Only mirroring can be part of a recipe; other changes alter what is in a frame.

        Args:
          chosen: The indices of all examples of the batch.
          key: The seed.
          share: The slice of the examples that are wanted.

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
        """The labels of all recordings, (N,) int32."""
        read = self.records.read(self.numbers)  # type: ignore[arg-type]
        return np.array([example['label'] for example in read], np.int32)

    def examples(self, numbers: np.ndarray) -> Batch:
        """See `Split`."""
        events, labels = self.recordings(numbers)
        return {
            'image': np.stack([self.frame(e) for e in events]),
            'label': labels,
            'mask': np.ones(len(numbers), bool),
        }

    def recordings(self, numbers: np.ndarray) -> tuple[list[Events], np.ndarray]:
        """Returns recordings as they are, and their labels, (N,) int32.

        Args:
          numbers: indices of the recordings in the split.
        """
        examples = self.records.read(self.numbers[numbers])
        labels = np.array([example['label'] for example in examples], np.int32)
        return [unpack(example, self.height, self.width) for example in examples], labels


@dataclasses.dataclass(frozen=True)
class TrainingPhoto:
    """How an encoded photo becomes a training image.

    Attributes:
      size: of the image, each way.
      min_scale: see `random_resized_crop`.
      augment: changes the image.
    """

    size: int
    min_scale: float
    augment: ImageAugmentation

    def __call__(self, data: bytes, rng: np.random.Generator) -> np.ndarray:
        """(size, size, 3) uint8; raises `DecodeError`."""
        return self.augment(random_resized_crop(data, self.size, rng, self.min_scale), rng)


@dataclasses.dataclass(frozen=True)
class EvaluationPhoto:
    """How an encoded photo becomes a test image.

    Attributes:
      size: of the image, each way.
      resize: see `centre_crop`.
    """

    size: int
    resize: int

    def __call__(self, data: bytes) -> np.ndarray:
        """(size, size, 3) uint8; raises `DecodeError`."""
        return centre_crop(data, self.resize, self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoSplit:
    """Photos as they were encoded, decoded when they are loaded.

    Attributes:
      records: with ``image`` (bytes), ``label`` and ``name``.
      numbers: of those of the records that are of this split.
      train: makes a training image.
      test: makes a test image.
      skip: leave out what cannot be decoded, instead of raising `DecodeError`; its place in the
        batch is black, and its ``mask`` false.
    """

    records: Records
    numbers: np.ndarray
    train: TrainingPhoto
    test: EvaluationPhoto
    skip: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`; raises `DecodeError`."""
        rngs = _generators(key, len(chosen), share)
        decoders = [functools.partial(self.train, rng=rng) for rng in rngs]
        batch = self._decode(chosen[share], decoders, self.train.size)
        # Absent where none can be missing, for a simpler step.
        return batch if self.skip else {k: v for k, v in batch.items() if k != 'mask'}

    def examples(self, numbers: np.ndarray) -> Batch:
        """See `Split`; raises `DecodeError`."""
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
                logging.error('left out %s: %s', name, error)
                decoded[i] = False
        labels = np.array([example['label'] for example in examples], np.int32)
        return {'image': images, 'label': labels, 'mask': decoded}
