"""Training metrics on their way from the device to the metric writer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import optax

from snnjax.data import DecodeError
from snnjax.spelling import count
from snnjax.train import metrics
from snnjax.train.finite import NonFiniteError
from snnjax.train.progress import Progress

# What a phase begins with: sums of no image, no image that was skipped, no step without effect.
START: dict[str, Any] = {'unwritten': {}, 'skipped': 0, 'non_finite': 0}


def check_skipped(skipped: int, max_skipped: int) -> None:
    """Raises DecodeError where more images were missing than may be, in all processes alike."""
    if skipped > max_skipped:
        raise DecodeError(
            f'{count(skipped, "photo")} could not be decoded, more than '
            f'data.max_skipped={max_skipped}; their names are above'
        )


class TrainingLog:
    """Gathers the sums of training steps, and writes their means every ``log_every`` steps.

    The last line of a phase may be of fewer.

    A step's sums are fetched when the next step is under way, so that the device never waits for
    the host, and the host is never more than one step ahead.

    Args:
      write: ``(step, values)``, gets ``train/...`` and ``time/...``: images per second, and the
        share of the time in which the host waited for data.
      progress: is moved on by each step.
      config: of the phase, for ``log_every``, ``batch_size``, and how many photos and steps may be
        lost.
      schedule: to tell the learning rate.
      places: of `snnjax.train.finite`.
      first_step: steps of the run before the phase.
      last_step: steps of the phase.
      position: `START`, or what `flush` gave when the run was saved.

    Attributes:
      stopping: whether any process of the run has been asked to stop, as all of them know.
    """

    def __init__(
        self,
        write: Callable[[int, Mapping[str, float]], None],
        progress: Progress,
        *,
        config: ml_collections.ConfigDict,
        schedule: optax.Schedule,
        places: Sequence[str],
        first_step: int,
        last_step: int,
        position: Mapping[str, Any],
    ) -> None:
        self._write_line = write
        self._progress = progress
        self._config = config
        self._schedule = schedule
        self._places = places
        self._first_step = first_step
        self._last_step = last_step
        position = START | dict(position)
        self._unwritten = dict(position['unwritten'])
        self._skipped = position['skipped']
        self._non_finite = position['non_finite']
        self.stopping = False
        self._pending: tuple[int, metrics.Sums] | None = None
        self.restart_clock()

    def push(self, step: int, sums: metrics.Sums) -> None:
        """Takes the sums of the step just started, and fetches those of the one before.

        Raises:
          DecodeError: where more images are missing than may be.
          NonFiniteError: where numbers are not finite, unless the configuration has that skipped.
        """
        pending, self._pending = self._pending, (step, sums)
        self._fetch(pending)

    def flush(self) -> dict[str, Any]:
        """Fetches what is pending; returns what another log goes on from, numbers by name.

        Raises:
          DecodeError: as `push` does.
          NonFiniteError: likewise.
        """
        pending, self._pending = self._pending, None
        self._fetch(pending)
        return self.position

    @property
    def position(self) -> dict[str, Any]:
        """What another log goes on from, but for what is pending."""
        return {
            'unwritten': self._unwritten,
            'skipped': self._skipped,
            'non_finite': self._non_finite,
        }

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
        self.stopping = host_sums.get('stop', 0) > 0
        fault = int(host_sums['fault'])
        if fault:
            self._note_fault(step, self._places[fault - 1])
        else:
            self._unwritten = metrics.add(self._unwritten, host_sums)
        self._skipped += self._config.batch_size - int(host_sums['images'])
        check_skipped(self._skipped, self._config.data.max_skipped)
        self._clocked_images += float(host_sums['images'])
        self._progress.advance(int(host_sums['images']))
        due = step % self._config.log_every == 0 or step == self._last_step
        if due and self._unwritten:
            self._write(step)

    def _note_fault(self, step: int, place: str) -> None:
        self._non_finite += 1
        of_run = self._first_step + step
        policy, most = self._config.on_non_finite, self._config.max_non_finite
        if policy == 'stop':
            raise NonFiniteError(of_run, place)
        if self._non_finite > most:
            raise NonFiniteError(
                of_run, place, f', as in more than max_non_finite={count(most, "step")}'
            )
        self._write_line(step, {'train/non_finite_steps': self._non_finite})
        if policy == 'rollback':
            raise NonFiniteError(of_run, place, position=self.position)
        self._progress.say(f'step {of_run:,} is skipped: {place} not finite')

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
