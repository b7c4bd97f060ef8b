"""Collection of training metrics on the devices, and their transfer to the metric writer."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import optax

from snnjax.data import DecodeError
from snnjax.spelling import count
from snnjax.train import metrics
from snnjax.train.finite import NonFiniteError
from snnjax.train.progress import Progress

# The position at the start of a phase: no sums, no skipped images, no non-finite steps.
START: dict[str, Any] = {'unwritten': {}, 'skipped': 0, 'non_finite': 0}


def check_skipped(skipped: int, max_skipped: int) -> None:
    """Raises DecodeError in every process if more images were skipped than allowed."""
    if skipped > max_skipped:
        raise DecodeError(
            f'{count(skipped, "photo")} could not be decoded, more than '
            f'data.max_skipped={max_skipped}; their names are above'
        )


class _Call(NamedTuple):
    """Holds the sums of the steps of one call.

    Attributes:
      before: the number of steps before the call.
      steps: the number of steps of the call.
      sums: the sums on the devices, scalars for a call of one step, else (K,) with K at least
        ``steps``.
    """

    before: int
    steps: int
    sums: metrics.Sums

    @property
    def last(self) -> int:
        """Returns the number of steps after the call."""
        return self.before + self.steps


# The number of calls that the host may be ahead of the devices. The second one keeps the devices
# busy if the host is delayed; each call holds the memory of its batches.
_AHEAD = 2
# The largest number of calls whose sums stay on the devices.
_MOST_CALLS = 256


class TrainingLog:
    """Gathers the sums of training steps, and writes their means every ``log_every`` steps.

    The last line of a phase may average over fewer steps.

    Sums stay on the devices until they are written. They are fetched while the next step is
    running, so the devices never wait for the host. The host is at most two calls ahead.

    Args:
      write: a function ``(step, values)`` that writes the values ``train/...`` and ``time/...``:
        images per second, and the share of the time in which the host waited for data.
      progress: the progress bar, which advances with each step.
      config: the configuration of the phase.
      schedule: the learning rate by step.
      places: the result of `snnjax.train.finite.places`.
      first_step: the number of steps of the run before the phase.
      last_step: the number of steps of the phase.
      position: `START`, or the result of `flush` when the run was saved.
      measure: a function from images per second to further values of a line.

    Attributes:
      stopping: true if any process of the run was asked to stop; equal in all processes.
      saving: true if a checkpoint is due by the clock; equal in all processes.
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
        measure: Callable[[float], Mapping[str, float]] = lambda images_per_second: {},
    ) -> None:
        self._write_line = write
        self._progress = progress
        self._config = config
        self._schedule = schedule
        self._places = places
        self._first_step = first_step
        self._last_step = last_step
        self._measure = measure
        position = START | dict(position)
        self._unwritten = dict(position['unwritten'])
        self._skipped = position['skipped']
        self._non_finite = position['non_finite']
        self.stopping = self.saving = False
        self._unfetched: list[_Call] = []
        # The last calls, which may still be running.
        self._under_way: collections.deque[_Call] = collections.deque()
        self.restart_clock()

    def push(self, step: int, sums: metrics.Sums, count: int = 1) -> None:
        """Takes the sums of steps that have just been started.

        Writes the log line of earlier steps if it is due, and waits if the host is too far ahead.

        Args:
          step: the number of steps of the phase after these.
          sums: the sums of the steps: scalars, or arrays with at least ``count`` entries.
          count: the number of steps.

        Raises:
          DecodeError: if more images are missing than allowed.
          NonFiniteError: if numbers are not finite, unless the configuration says to go on.
        """
        due = self._unfetched and self._is_due(self._unfetched[-1].last)
        if due or len(self._unfetched) >= _MOST_CALLS:
            self._fetch()
        call = _Call(step - count, count, sums)
        self._unfetched.append(call)
        self._under_way.append(call)
        while len(self._under_way) > _AHEAD:
            self._wait_for(self._under_way.popleft())

    def flush(self) -> dict[str, Any]:
        """Fetches all sums; returns the position that another log continues from.

        Raises:
          DecodeError: if more images are missing than allowed.
          NonFiniteError: if numbers are not finite, unless the configuration says to go on.
        """
        self._fetch()
        return self.position

    @property
    def position(self) -> dict[str, Any]:
        """The position that another log continues from, without the sums not fetched yet."""
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
        """Restarts the clock, so that the time before does not count for images per second."""
        self._clock = time.perf_counter()
        self._clocked_images = 0.0
        self._waited = 0.0

    def _is_due(self, step: int) -> bool:
        return step % self._config.log_every == 0 or step == self._last_step

    def _wait_for(self, call: _Call) -> None:
        """Waits for a call; takes its flags and moves the progress bar."""
        jax.block_until_ready(call.sums['images'])
        if 'stop' in call.sums:
            self.stopping |= bool(np.any(call.sums['stop']))
            self.saving |= bool(np.any(call.sums['save']))
        self._progress.advance(call.steps * self._config.batch_size)

    def _fetch(self) -> None:
        """Fetches the sums of all calls, and takes them step by step."""
        while self._under_way:
            self._wait_for(self._under_way.popleft())
        calls, self._unfetched = self._unfetched, []
        for call, fetched in zip(calls, jax.device_get([c.sums for c in calls]), strict=True):
            for number in range(call.steps):
                one = jax.tree.map(lambda x, n=number: np.atleast_1d(x)[n], fetched)
                self._take(call.before + number + 1, one)

    def _take(self, step: int, sums: Any) -> None:
        fault = int(sums['fault'])
        if fault:
            self._note_fault(step, self._places[fault - 1])
        else:
            self._unwritten = metrics.add(self._unwritten, sums)
        self._skipped += self._config.batch_size - int(sums['images'])
        check_skipped(self._skipped, self._config.data.max_skipped)
        self._clocked_images += float(sums['images'])
        if self._is_due(step) and self._unwritten:
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
        images_per_second = self._clocked_images / elapsed
        self._write_line(
            step,
            {
                **means,
                'train/learning_rate': float(self._schedule(step - 1)),
                'time/images_per_second': images_per_second,
                'time/waiting_for_data': self._waited / elapsed,
                **self._measure(images_per_second),
            },
        )
        self._progress.show(means)
        self._unwritten = {}
        self.restart_clock()
