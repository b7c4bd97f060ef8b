"""Batches of a data set that fits in memory.

A training batch is a function of the seed and its number alone. So the state of the data is one
number, any process can make its share of any batch, and the global batch is the same however many
processes there are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import grain
import numpy as np

from snnjax.data.augment import random_crop, random_flip
from snnjax.data.datasets import Split

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The batches of a training run, by number: ``batches[0]`` is the first.

    Every epoch goes through the images in a new order. What is left at its end, less than a batch,
    is left out of that epoch.

    Attributes:
      split: the images.
      batch_size: images in a batch, over all processes.
      seed: of the order and the augmentation.
      num_batches: how many there are.
      crop_padding: see `random_crop`; 0 for none.
      flip: whether to `random_flip`.
      process_index: which process this is, of
      process_count: processes that share each batch, in equal parts.
    """

    split: Split
    batch_size: int
    seed: int
    num_batches: int
    crop_padding: int = 0
    flip: bool = False
    process_index: int = 0
    process_count: int = 1

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.split) // self.batch_size

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, number: int) -> Batch:
        """``image`` (B, H, W, C) uint8 and ``label`` (B,) int32: this process's share."""
        epoch, place = divmod(number, self.per_epoch)
        chosen = self._order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        images = self.split.images[chosen]
        # Drawn for the global batch, so that it does not depend on the number of processes.
        rng = np.random.default_rng((self.seed, 1, number))
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, rng)
        if self.flip:
            images = random_flip(images, rng)
        share = self._share()
        return {'image': images[share], 'label': self.split.labels[chosen[share]]}

    @functools.lru_cache(maxsize=2)  # noqa: B019 (the batches live as long as the run)
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.split))

    def _share(self) -> slice:
        size = self.batch_size // self.process_count
        return slice(self.process_index * size, (self.process_index + 1) * size)

    def iterate(self, start: int) -> Iterator[Batch]:
        """The batches from number ``start`` on, made ahead of their use by a thread."""
        rest = grain.MapDataset.source(self)[start:]
        return iter(rest.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def evaluation_batches(
    split: Split, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """Every image once, in order: ``image``, ``label``, and ``mask`` (B,) bool, false for padding.

    The last batch is filled up with zeros, so that all are of one size.
    """
    size = batch_size // process_count
    for first in range(0, len(split), batch_size):
        start = min(first + process_index * size, len(split))
        stop = min(start + size, len(split))
        missing = size - (stop - start)
        yield {
            'image': np.pad(split.images[start:stop], ((0, missing), (0, 0), (0, 0), (0, 0))),
            'label': np.pad(split.labels[start:stop], (0, missing)),
            'mask': np.arange(size) < stop - start,
        }
