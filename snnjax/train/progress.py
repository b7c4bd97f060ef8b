"""What a run says while it goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

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


Item = TypeVar('Item')


def watched(
    items: Iterable[Item], what: str, total: int | None = None, unit: str = 'batch'
) -> Iterator[Item]:
    """Yields items with a bar on stderr, if that is a terminal.

    Until the second item is asked for, which is when the first one has been compiled, the bar says
    so; the time left is that of the items that follow.

    Args:
      items: what is worked on.
      what: is done, in front of the bar.
      total: number of items; None for ``len(items)`` if they have a length.
      unit: name of an item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _bar(f'{what}, compiling…', total=total, unit=f' {unit}') as bar:
        for number, item in enumerate(items):
            yield item
            if number == 0:
                bar.set_description(what, refresh=False)
                # Of the first one the time is that of the compiler.
                bar.reset(total)
                bar.initial = bar.n = 1
                bar.refresh()
            else:
                bar.update()


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Says on stderr, if that is a terminal, that something is compiled while the context lasts.

    Args:
      what: is done with it.
    """
    with _bar(f'{what}, compiling…', bar_format='{desc}'):
        yield


def _bar(description: str, **options: Any) -> tqdm.tqdm:
    # A process may have been started without stderr.
    disable = None if sys.stderr else True
    return tqdm.tqdm(desc=description, disable=disable, leave=False, dynamic_ncols=True, **options)
