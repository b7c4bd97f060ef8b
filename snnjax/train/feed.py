"""Moves training batches to the devices, for one step or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from snnjax.data.pipeline import TrainingBatches
from snnjax.train.device_images import place_images
from snnjax.train.experiment import Phase
from snnjax.train.sharding import put_batch

# Limits of a call whose number of steps is chosen here.
_MOST_BYTES = 64 * 2**20
_MOST_STEPS = 32


def steps_per_call(phase: Phase) -> int:
    """Returns the largest number of steps in one compiled loop, or 0 for no loop."""
    if phase.config.steps_per_call:
        return phase.config.steps_per_call
    if phase.program.mesh.devices.flat[0].platform == 'cpu':
        return 0
    size = phase.config.batch_size * np.prod(phase.dataset.image_shape)
    return int(min(max(_MOST_BYTES // size, 1), _MOST_STEPS))


class Feed:
    """Supplies the batches of a phase, in order.

    Args:
      phase: the phase.
      start: the index of the first batch.

    Attributes:
      steps: the number of batches that a call has room for, or 0 for a single batch without an axis
        of steps.

    Raises:
      ConfigError: if the images have to be on the devices and do not fit.
    """

    def __init__(self, phase: Phase, start: int) -> None:
        program, batches, data = phase.program, phase.batches, phase.config.data
        self.steps = steps_per_call(phase)
        self._sharding = program.batches_sharding if self.steps else program.batch_sharding
        # Not if nothing is left to be trained on.
        where = data.on_device if start < len(batches) else 'false'
        shape = phase.dataset.image_shape
        self._images = place_images(batches.split, shape, where, program.mesh)
        self._made = (
            _recipes(batches, start) if self._images else batches.iterate(start, data.workers)
        )

    def take(self, count: int, flags: Mapping[str, bool]) -> Any:
        """Puts the next batches on the devices.

        Args:
          count: the number of batches; 1 if a call takes a single one.
          flags: values by name, which are added to the batch as an array with one copy per image.

        Returns:
          The arrays of a batch, (B, ...), or of several, (K, B, ...), of which the first ``count``
          are filled.
        """
        made = [next(self._made) for _ in range(count)]
        batch = _stack(made, self.steps) if self.steps else made[0]
        placed = put_batch(batch, self._sharding)
        if self._images:
            placed = self._images.batch(placed)
        if flags:
            # They come last, so that they are as recent as possible.
            shape = batch['label'].shape
            told = {name: np.full(shape, flag) for name, flag in flags.items()}
            placed = placed | put_batch(told, self._sharding)
        return placed


def _recipes(batches: TrainingBatches, start: int) -> Iterator[Any]:
    # Made when needed: drawing a recipe is cheaper than passing it between threads.
    return (batches.recipe(number) for number in range(start, len(batches)))


def _stack(batches: list[dict[str, np.ndarray]], steps: int) -> dict[str, np.ndarray]:
    """Stacks batches along a new axis of length ``steps``; the rest is zero."""
    stacked = {
        key: np.zeros((steps, *value.shape), value.dtype) for key, value in batches[0].items()
    }
    for number, batch in enumerate(batches):
        for key, value in batch.items():
            stacked[key][number] = value
    return stacked
