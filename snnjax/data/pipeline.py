"""Batches of a data set.

A training batch is a function of the seed and its number alone. So the state of the data is one
number, any process can make its share of any batch, and the global batch is the same however many
processes there are, of training or of making batches.
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
    """A process that makes batches is gone; the message says how it ended."""

    exit_status = EXIT_INTERRUPTED
    advice = 'the same command goes on from the last checkpoint'


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
      mixup: see `snnjax.data.transforms.mixing.draw_mixing`; 0 for none.
      cutmix: likewise.
      process_index: which process this is, of
      process_count: processes that share each batch, in equal parts.
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
        """Batches in an epoch."""
        return len(self.split) // self.batch_size

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, number: int) -> Batch:
        """``image`` uint8 and ``label`` (B,) int32: this process's share.

        Also ``mask`` where images may be missing, and what `mix` adds.
        """
        chosen, share = self._chosen(number), self._share()
        batch = self.split.training_batch(chosen, (self.seed, 1, number), share)
        if self.mixup or self.cutmix:
            height, width = batch['image'].shape[-3:-1]
            batch = mix(batch, self._draw_mixing(number, (height, width), batch.get('mask')))
        return batch

    def recipe(self, number: int) -> Batch:
        """Returns the random numbers of a batch, without its pixels.

        Returns:
          The recipe of the split, see `snnjax.data.ArraySplit.recipe`. If images are mixed, also
          ``mix_weight`` (B,) float32, ``mix_box`` (B, 4) int32 and ``label_weight`` (B,) float32,
          see `snnjax.data.transforms.mixing.Mixing`.

        Raises:
          TypeError: If the split has no recipes.
        """
        if not isinstance(self.split, ArraySplit | EventSplit):
            raise TypeError(f'{type(self.split).__name__} has no recipes: its images are made here')
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
        """The batches from number ``start`` on, made ahead of their use.

        Args:
          start: number of the first.
          workers: processes that make them; 0 for threads of this one.
        """
        return _made_ahead(grain.MapDataset.source(self)[start:], workers)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationBatches:
    """Every image once, in order: ``image``, ``label``, and ``mask`` (B,) bool, false for padding.

    The last batch is filled up with zeros, so that all are of one size.

    Attributes:
      split: the images.
      batch_size: images in a batch, over all processes.
      process_index: which process this is, of
      process_count: processes that share each batch, in equal parts.
    """

    split: Split
    batch_size: int
    process_index: int = 0
    process_count: int = 1

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        """This process's share."""
        size = self.batch_size // self.process_count
        first = number * self.batch_size + self.process_index * size
        start, stop = (min(place, len(self.split)) for place in (first, first + size))
        # A share of nothing but padding still needs the shape of an image.
        batch = self.split.examples(np.arange(start, stop) if stop > start else np.arange(1))
        if stop == start:
            batch = {key: value[:0] for key, value in batch.items()}
        missing = size - (stop - start)
        return {
            key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
            for key, value in batch.items()
        }

    def iterate(self, workers: int = 0) -> Iterator[Batch]:
        """All batches, made ahead of their use; see `TrainingBatches.iterate`."""
        return _made_ahead(grain.MapDataset.source(self), workers)


_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10


def _prepare_worker(worker: int, workers: int) -> None:
    """Ties the life of a worker process to that of the run.

    Signals may reach all processes of a run, which still needs its batches to stop in good order:
    SIGINT is left to the run, and after SIGTERM or SIGHUP a worker goes on for a while before it
    ends. One whose run is gone, whatever ended it, ends by itself.
    """
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.append(number))
    threading.Thread(target=_end_in_time, args=(received,), daemon=True).start()


def _end_in_time(received: list[int]) -> None:
    """Ends this process when its parent is gone, or a while after it has received a signal."""
    parent = multiprocessing.parent_process()
    end = math.inf
    # The system gives a process whose parent has ended to another one.
    while parent and os.getppid() == parent.pid and time.monotonic() < end:
        if received and end == math.inf:
            end = time.monotonic() + _GRACE_SECONDS
        time.sleep(_POLL_SECONDS)
    # Not by an exception: the main thread may wait for the run without end.
    os._exit(128 + signal.SIGTERM)


def _made_ahead(batches: grain.MapDataset, workers: int) -> Iterator[Batch]:
    threads = 1 if workers else min(os.cpu_count() or 1, 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    dataset = batches.to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():
            # Grain asks for flags of its own, also where no command line was parsed by absl.
            flags.FLAGS.mark_as_parsed()
        # Each makes whole batches, which come in their order.
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
            f'a process that reads the data is gone, for want of memory perhaps: {error}'
        ) from error
