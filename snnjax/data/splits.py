"""The examples of a split, by kind: arrays in memory, encoded photos, recordings of events.

Each kind makes a part of a training batch from the numbers of the examples of all of it. What is
random is drawn from generators seeded with ``key``, and does not depend on which part it is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
from absl import logging

from snnjax.data.augment import random_crop, random_flip
from snnjax.data.event_files import Events
from snnjax.data.event_sets import unpack
from snnjax.data.frames import EventAugmentation
from snnjax.data.images import DecodeError
from snnjax.data.records import Records

Batch = dict[str, np.ndarray]
Key = tuple[int, ...]


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
class ArraySplit:
    """Images and labels in memory.

    Attributes:
      images: (N, H, W, C) uint8.
      labels: (N,) int32.
      crop_padding: see `random_crop`; 0 for none.
      flip: whether to `random_flip`.
    """

    images: np.ndarray
    labels: np.ndarray
    crop_padding: int = 0
    flip: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`."""
        images = self.images[chosen]
        # Drawn for the whole batch, so that it does not depend on the share.
        rng = np.random.default_rng(key)
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, rng)
        if self.flip:
            images = random_flip(images, rng)
        return {'image': images[share], 'label': self.labels[chosen[share]]}

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
      records: as `snnjax.data.event_sets` stores them.
      numbers: of those of the records that are of this split.
      height: of the camera.
      width: likewise.
      frame: events -> (T, H, W, 2).
      augment: changes a training recording.
    """

    records: Records
    numbers: np.ndarray
    height: int
    width: int
    frame: Callable[[Events], np.ndarray]
    augment: EventAugmentation

    def __len__(self) -> int:
        return len(self.numbers)

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`."""
        slots = np.arange(len(chosen))[share]
        events, labels = self._read(chosen[share])
        changed = [
            self.augment(recording, np.random.default_rng((*key, slot)))
            for recording, slot in zip(events, slots, strict=True)
        ]
        return {'image': np.stack([self.frame(e) for e in changed]), 'label': labels}

    def examples(self, numbers: np.ndarray) -> Batch:
        """See `Split`."""
        events, labels = self._read(numbers)
        return {
            'image': np.stack([self.frame(e) for e in events]),
            'label': labels,
            'mask': np.ones(len(numbers), bool),
        }

    def _read(self, numbers: np.ndarray) -> tuple[list[Events], np.ndarray]:
        examples = self.records.read(self.numbers[numbers])
        labels = np.array([example['label'] for example in examples], np.int32)
        return [unpack(example, self.height, self.width) for example in examples], labels


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoSplit:
    """Photos as they were encoded, decoded when they are loaded.

    Attributes:
      records: with ``image`` (bytes), ``label`` and ``name``.
      numbers: of those of the records that are of this split.
      train: ``(bytes, *, rng) -> (size, size, 3) uint8``.
      test: ``bytes -> (size, size, 3) uint8``; another size.
      skip: leave out what cannot be decoded, instead of raising `DecodeError`; its place in the
        batch is black, and its ``mask`` false.
    """

    records: Records
    numbers: np.ndarray
    train: Callable[..., np.ndarray]
    test: Callable[[bytes], np.ndarray]
    skip: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def training_batch(self, chosen: np.ndarray, key: Key, share: slice) -> Batch:
        """See `Split`; raises `DecodeError`."""
        slots = np.arange(len(chosen))[share]
        rngs = [np.random.default_rng((*key, slot)) for slot in slots]
        batch = self._decode(
            chosen[share], [functools.partial(self.train, rng=rng) for rng in rngs]
        )
        # Absent where none can be missing, for a simpler step.
        return batch if self.skip else {k: v for k, v in batch.items() if k != 'mask'}

    def examples(self, numbers: np.ndarray) -> Batch:
        """See `Split`; raises `DecodeError`."""
        return self._decode(numbers, [self.test] * len(numbers))

    def _decode(self, numbers: np.ndarray, decoders: list[Callable[[bytes], np.ndarray]]) -> Batch:
        examples = self.records.read(self.numbers[numbers])
        images: list[np.ndarray | None] = []
        for example, decode in zip(examples, decoders, strict=True):
            try:
                images.append(decode(example['image']))
            except DecodeError as error:
                name = example['name'].decode()
                if not self.skip:
                    raise DecodeError(f'{name}: {error}') from error
                logging.error('left out %s: %s', name, error)
                images.append(None)
        decoded = np.array([image is not None for image in images])
        shape = next((i.shape for i in images if i is not None), None)
        if shape is None:
            raise DecodeError('none of a batch can be decoded')
        return {
            'image': np.stack([np.zeros(shape, np.uint8) if i is None else i for i in images]),
            'label': np.array([example['label'] for example in examples], np.int32),
            'mask': decoded,
        }
