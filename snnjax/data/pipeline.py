"""Batches of a data set.

A training batch is a function of the seed and the index of the batch alone. The state of the data
pipeline is therefore one integer, and any process can make its share of any batch. The global batch
does not depend on the number of training processes or worker processes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from snnjax.data.generators import generator
from snnjax.data.splits import ArraySplit, Batch, EventSplit, Split
from snnjax.data.transforms.mixing import Mixing, draw_mixing, mix
from snnjax.errors import EXIT_INTERRUPTED, UserError


class WorkerLostError(UserError, RuntimeError):
    """A worker process has ended unexpectedly; the message says how."""

    exit_status = EXIT_INTERRUPTED
    advice = 'run the same command again to resume from the last checkpoint'


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The batches of a training run by index; ``batches[0]`` is the first.

    Each epoch visits the images in a new order. The incomplete batch at the end of an epoch is
    dropped.

    Attributes:
      split: the training images.
      batch_size: the number of images in a batch, over all processes.
      seed: the seed of the order and the augmentation.
      num_batches: the number of batches in the run.
      mixup: the parameter of mixup, as in `snnjax.data.transforms.mixing.draw_mixing`; 0 for none.
      cutmix: the parameter of CutMix, as in `snnjax.data.transforms.mixing.draw_mixing`; 0 for
        none.
      process_index: the index of this process.
      process_count: the number of processes that share each batch in equal parts.
    """

    split: Split
    batch_size: int
    seed: int
    num_batches: int
    mixup: float = 0.0
    cutmix: float = 0.0
    process_index: int = 0
    process_count: int = 1

    @property
    def per_epoch(self) -> int:
        """Returns the number of batches in an epoch."""
        return len(self.split) // self.batch_size

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, number: int) -> Batch:
        """Returns this process's share of a batch.

        Args:
          number: the index of the batch in the run.

        Returns:
          ``image`` uint8 and ``label`` (B,) int32; ``mask`` (B,) bool if images may be missing; and
          the entries that `mix` adds.
        """
        chosen, share = self._chosen(number), self._share()
        batch = self.split.training_batch(chosen, (self.seed, 1, number), share)
        if self.mixup or self.cutmix:
            height, width = batch['image'].shape[-3:-1]
            batch = mix(batch, self._draw_mixing(number, (height, width), batch.get('mask')))
        return batch

    def recipe(self, number: int) -> Batch:
        """Returns the random numbers of a batch, without its pixels.

        Args:
          number: the index of the batch in the run.

        Returns:
          The recipe of the split, as in `snnjax.data.ArraySplit.recipe`. If images are mixed, also
          ``mix_weight`` (B,) float32, ``mix_box`` (B, 4) int32 and ``label_weight`` (B,) float32,
          as in `snnjax.data.transforms.mixing.Mixing`.

        Raises:
          TypeError: if the split has no recipes.
        """
        if not isinstance(self.split, ArraySplit | EventSplit):
            raise TypeError(
                f'{type(self.split).__name__} has no recipes: its images are made on the host'
            )
        recipe = self.split.recipe(self._chosen(number), (self.seed, 1, number), self._share())
        if self.mixup or self.cutmix:
            mixing = self._draw_mixing(number, self.split.sides)
            recipe |= {
                'mix_weight': mixing.weight,
                'mix_box': mixing.box,
                'label_weight': mixing.label_weight,
            }
        return recipe

    def _draw_mixing(
        self, number: int, sides: tuple[int, int], mask: np.ndarray | None = None
    ) -> Mixing:
        key = (self.seed, 2, number)
        options = (self.mixup, self.cutmix, key, self.batch_size, self._share())
        return draw_mixing(*options, sides, mask)

    def _chosen(self, number: int) -> np.ndarray:
        epoch, place = divmod(number, self.per_epoch)
        return self._order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    @functools.lru_cache(maxsize=2)  # noqa: B019 (the batches live as long as the run)
    def _order(self, epoch: int) -> np.ndarray:
        return generator((self.seed, 0, epoch)).permutation(len(self.split))

    def _share(self) -> slice:
        size = self.batch_size // self.process_count
        return slice(self.process_index * size, (self.process_index + 1) * size)

    def iterate(self, start: int, workers: int = 0) -> Iterator[Batch]:
        """Returns an iterator over the batches from index ``start`` on, with prefetching.

        Args:
          start: the index of the first batch.
          workers: the number of processes that make batches; 0 for threads of this process.

        Raises:
          WorkerLostError: if a worker process ends unexpectedly.
        """
        return _made_ahead(grain.MapDataset.source(self)[start:], workers)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationBatches:
    """The batches of an evaluation: each image once, in order.

    The last batch is padded with zeros, so that all batches have the same size.

    Attributes:
      split: the images.
      batch_size: the number of images in a batch, over all processes.
      process_index: the index of this process.
      process_count: the number of processes that share each batch in equal parts.
    """

    split: Split
    batch_size: int
    process_index: int = 0
    process_count: int = 1

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        """Returns this process's share of a batch.

        Args:
          number: the index of the batch.

        Returns:
          ``image`` uint8, ``label`` (B,) int32, and ``mask`` (B,) bool, which is false for padding
          and for images that could not be decoded.
        """
        size = self.batch_size // self.process_count
        first = number * self.batch_size + self.process_index * size
        start, stop = (min(place, len(self.split)) for place in (first, first + size))
        # A share of padding only still needs the shape of an image.
        batch = self.split.examples(np.arange(start, stop) if stop > start else np.arange(1))
        if stop == start:
            batch = {key: value[:0] for key, value in batch.items()}
        missing = size - (stop - start)
        return {
            key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
            for key, value in batch.items()
        }

    def iterate(self, workers: int = 0) -> Iterator[Batch]:
        """Returns an iterator over all batches, as `TrainingBatches.iterate` does."""
        return _made_ahead(grain.MapDataset.source(self), workers)


_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10


def _prepare_worker(worker: int, workers: int) -> None:
    """Ties the lifetime of a worker process to its parent, the run.

    A signal may reach all processes of a run, but the run still needs batches to stop cleanly. A
    worker therefore ignores SIGINT, and after SIGTERM or SIGHUP it works for some seconds before it
    exits. A worker also exits if its parent has ended for any reason.
    """
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.append(number))
    threading.Thread(target=_end_in_time, args=(received,), daemon=True).start()


def _end_in_time(received: list[int]) -> None:
    """Ends this process once its parent is gone, or some seconds after it received a signal."""
    parent = multiprocessing.parent_process()
    end = math.inf
    # The parent's process id changes once the parent has ended.
    while parent and os.getppid() == parent.pid and time.monotonic() < end:
        if received and end == math.inf:
            end = time.monotonic() + _GRACE_SECONDS
        time.sleep(_POLL_SECONDS)
    # An exception would not do: the main thread may be waiting for the run forever.
    os._exit(128 + signal.SIGTERM)


def _made_ahead(batches: grain.MapDataset, workers: int) -> Iterator[Batch]:
    threads = 1 if workers else min(os.cpu_count() or 1, 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    dataset = batches.to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():
            # Grain reads its own flags, even if absl has parsed no command line.
            flags.FLAGS.mark_as_parsed()
        # Each worker makes whole batches; Grain returns them in order.
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
            worker_init_fn=_prepare_worker,
        )
    try:
        yield from dataset
    except RuntimeError as error:
        if 'process was terminated' not in str(error):
            raise
        raise WorkerLostError(
            f'a process that reads the data has ended, perhaps for lack of memory: {error}'
        ) from error
