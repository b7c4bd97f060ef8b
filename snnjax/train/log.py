"""Training metrics on their way from the device to the metric writer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import optax

from snnjax.data import DecodeError
from snnjax.train import metrics
from snnjax.train.progress import Progress


def check_skipped(skipped: int, max_skipped: int) -> None:
    """Raises DecodeError where more images were missing than may be, in all processes alike."""
    if skipped > max_skipped:
        raise DecodeError(
            f'{skipped} photos could not be decoded, more than data.max_skipped={max_skipped}; '
            f'their names are above'
        )


class TrainingLog:
    """Gathers the sums of training steps, and writes their means every ``log_every`` steps.

    A step's sums are fetched when the next step is under way, so that the device never waits for
    the host, and the host is never more than one step ahead.

    Args:
      write: ``(step, values)``, gets ``train/...`` and ``time/...``: images per second, and the
        share of the time in which the host waited for data.
      progress: is moved on by each step.
      log_every: steps between two lines.
      schedule: to tell the learning rate.
      unwritten: sums since the last line of a run that is continued.
      batch_size: images in a step, where none is missing.
      skipped: images that were missing before.
      max_skipped: how many may be missing in the phase.

    Attributes:
      skipped: images that were missing so far: photos that could not be decoded.
      stopping: whether any process of the run has been asked to stop, as all of them know.
    """

    def __init__(
        self,
        write: Callable[[int, Mapping[str, float]], None],
        progress: Progress,
        *,
        log_every: int,
        schedule: optax.Schedule,
        unwritten: Mapping[str, float],
        batch_size: int,
        skipped: int,
        max_skipped: int,
    ) -> None:
        self._write_line = write
        self._progress = progress
        self._log_every = log_every
        self._schedule = schedule
        self._unwritten = dict(unwritten)
        self._batch_size = batch_size
        self.skipped = skipped
        self.stopping = False
        self._max_skipped = max_skipped
        self._pending: tuple[int, metrics.Sums] | None = None
        self.restart_clock()

    def push(self, step: int, sums: metrics.Sums) -> None:
        """Takes the sums of the step just started, and fetches those of the one before.

        Raises:
          DecodeError: where more images are missing than may be.
        """
        pending, self._pending = self._pending, (step, sums)
        self._fetch(pending)

    def flush(self) -> dict[str, float]:
        """Fetches what is pending; returns the sums that no line has been written for."""
        pending, self._pending = self._pending, None
        self._fetch(pending)
        return self._unwritten

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as spent waiting for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def restart_clock(self) -> None:
        """Leaves the time since the last step, and before, out of the images per second."""
        self._clock = time.perf_counter()
        self._clocked_images = 0.0
        self._waited = 0.0

    def _fetch(self, pending: tuple[int, metrics.Sums] | None) -> None:
        if pending is None:
            return
        step, sums = pending
        host_sums = jax.device_get(sums)
        self.stopping = host_sums.pop('stop', 0) > 0
        self._unwritten = metrics.add(self._unwritten, host_sums)
        self.skipped += self._batch_size - int(host_sums['images'])
        check_skipped(self.skipped, self._max_skipped)
        self._clocked_images += float(host_sums['images'])
        self._progress.advance(int(host_sums['images']))
        if step % self._log_every == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        means = metrics.means(self._unwritten, 'train')
        elapsed = time.perf_counter() - self._clock
        self._write_line(
            step,
            {
                **means,
                'train/learning_rate': float(self._schedule(step - 1)),
                'time/images_per_second': self._clocked_images / elapsed,
                'time/waiting_for_data': self._waited / elapsed,
            },
        )
        self._progress.show(means)
        self._unwritten = {}
        self.restart_clock()
