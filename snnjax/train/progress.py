"""What a run says while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import tqdm


class Progress:
    """A bar with images per second and the time left, and a line for each evaluation.

    The bar needs a terminal; the lines are printed anywhere.

    Args:
      num_images: of the whole run.
      done: images that were trained on before this start.
      enabled: False to say nothing, in processes that leave it to another.
    """

    def __init__(self, num_images: int, done: int, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._bar = tqdm.tqdm(
            total=num_images,
            initial=done,
            unit=' images',
            unit_scale=True,
            disable=None if enabled else True,
            dynamic_ncols=True,
            file=sys.stdout,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def advance(self, images: int) -> None:
        """Moves the bar on."""
        self._bar.update(images)

    def show(self, metrics: Mapping[str, float]) -> None:
        """Shows training metrics at the end of the bar."""
        self._bar.set_postfix_str(
            f'loss {metrics["train/loss"]:.3f}, accuracy {metrics["train/accuracy"]:.3f}, '
            f'firing rate {metrics["train/firing_rate"]:.3f}',
            refresh=False,
        )

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        if not self._enabled:
            return
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()


def warn(text: str) -> None:
    """Prints a line to stderr that does not break a bar."""
    tqdm.tqdm.write(text, file=sys.stderr)
