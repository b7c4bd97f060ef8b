"""Batches on their way to the devices, for one step or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from snnjax.data.pipeline import TrainingBatches
from snnjax.train.device_images import DeviceImages
from snnjax.train.experiment import Phase
from snnjax.train.sharding import put_batch

# Of the batches of a call where the configuration does not say how many steps it has.
_MOST_BYTES = 64 * 2**20
_MOST_STEPS = 32


def steps_per_call(phase: Phase) -> int:
    """Returns how many steps of a phase the devices take in one loop at most; 0 for no loop."""
    if phase.config.steps_per_call:
        return phase.config.steps_per_call
    if phase.program.mesh.devices.flat[0].platform == 'cpu':
        return 0
    size = phase.config.batch_size * np.prod(phase.dataset.image_shape)
    return int(min(max(_MOST_BYTES // size, 1), _MOST_STEPS))


class Feed:
    """The batches of a phase, in order.

    Args:
      phase: the phase.
      images: of the phase on the devices; None where the host makes batches.
      start: number of the first batch.
      steps: batches that a call has room for; 0 where it takes a batch by itself.
    """

    def __init__(self, phase: Phase, images: DeviceImages | None, start: int, steps: int) -> None:
        program = phase.program
        self._images = images
        self._steps = steps
        self._sharding = program.batches_sharding if steps else program.batch_sharding
        batches = phase.batches
        self._made = (
            _recipes(batches, start)
            if images
            else batches.iterate(start, phase.config.data.workers)
        )

    def take(self, count: int, flags: Mapping[str, bool]) -> Any:
        """Puts the next batches on the devices.

        Args:
          count: of batches; 1 where a call takes a batch by itself.
          flags: by name, what every image of them tells beside its pixels.

        Returns:
          Arrays of a batch, (B, ...), or (K, B, ...) for K steps, of which the first ``count`` are
          batches.
        """
        made = [next(self._made) for _ in range(count)]
        batch = _stack(made, self._steps) if self._steps else made[0]
        placed = put_batch(batch, self._sharding)
        if self._images:
            placed = self._images.batch(placed)
        # The flags are small, and come last: what they tell is of now.
        shape = batch['label'].shape
        return placed | put_batch(
            {name: np.full(shape, flag) for name, flag in flags.items()}, self._sharding
        )


def _recipes(batches: TrainingBatches, start: int) -> Iterator[Any]:
    # Not ahead of their use: a recipe takes less time than to hand it over between threads.
    return (batches.recipe(number) for number in range(start, len(batches)))


def _stack(batches: list[dict[str, np.ndarray]], steps: int) -> dict[str, np.ndarray]:
    """Arrays of batches in one, with room for ``steps`` of them."""
    stacked = {
        key: np.zeros((steps, *value.shape), value.dtype) for key, value in batches[0].items()
    }
    for number, batch in enumerate(batches):
        for key, value in batch.items():
            stacked[key][number] = value
    return stacked
