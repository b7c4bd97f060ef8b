"""Progress bars and messages of a run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, TextIO, TypeVar, cast

import tqdm


class _Forgiving:
    """A stream that drops text that cannot be written, for example to a closed pipe."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def keep_printing() -> None:
    """Lets this process continue if its output cannot be written.

    Closed descriptors of the standard streams are opened on the null device. Otherwise the next
    file would get their number, and with it the output of libraries.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest number that is free.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)


def _forgiving(stream: TextIO | None) -> TextIO:
    return cast(TextIO, _Forgiving(stream))


class Progress:
    """A bar with images per second and the time left, and a line for each evaluation.

    The bar needs a terminal; the lines are always printed. Training continues if they cannot be.

    Args:
      num_images: the number of images of the whole run.
      done: the number of images that were trained on before this start.
      enabled: false to print nothing, in processes other than the first.
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
            file=_forgiving(sys.stdout),
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def pausing(self, what: str) -> Iterator[None]:
        """Shows another activity, whose time counts neither for the speed nor the time left.

        Args:
          what: the name of the activity, such as 'compiling'.
        """
        self._bar.set_description_str(f'{what} …')
        start = time.time()
        try:
            yield
        finally:
            if not self._bar.disable:
                pause = time.time() - start
                self._bar.start_t += pause
                self._bar.last_print_t += pause
            self._bar.set_description_str('')

    def advance(self, images: int) -> None:
        """Advances the bar by a number of images."""
        self._bar.update(images)

    def show(self, metrics: Mapping[str, float]) -> None:
        """Shows training metrics at the end of the bar."""
        self._bar.set_postfix_str(
            f'loss {metrics["train/loss"]:.3f}, accuracy {metrics["train/accuracy"]:.3f}, '
            f'firing rate {metrics["train/firing_rate"]:.3f}',
            refresh=False,
        )

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._enabled:
            return
        stream = _forgiving(sys.stdout)
        self._bar.write(text, file=stream)
        stream.flush()


def warn(text: str) -> None:
    """Prints a line to stderr without breaking a bar."""
    tqdm.tqdm.write(text, file=_forgiving(sys.stderr))


Item = TypeVar('Item')


def watched(
    items: Iterable[Item], what: str, total: int | None = None, unit: str = 'batch'
) -> Iterator[Item]:
    """Yields items with a bar on stderr, if that is a terminal.

    The bar says "compiling" until the second item is requested. The time left is estimated from the
    items after the first.

    Args:
      items: an iterable, such as batches.
      what: the name of the work, in front of the bar.
      total: the number of items; None for ``len(items)`` if they have a length.
      unit: the name of an item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _bar(f'{what}, compiling…', total=total, unit=f' {unit}') as bar:
        for number, item in enumerate(items):
            yield item
            if number == 0:
                bar.set_description(what, refresh=False)
                # The time of the first item is that of the compiler.
                bar.reset(total)
                bar.initial = bar.n = bar.last_print_n = 1
                bar.refresh()
            else:
                bar.update()


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Shows "compiling" on stderr, if that is a terminal, while the context lasts.

    Args:
      what: the name of the work.
    """
    with _bar(f'{what}, compiling…', bar_format='{desc}'):
        yield


def _bar(description: str, **options: Any) -> tqdm.tqdm:
    # A process may have been started without stderr.
    disable = None if sys.stderr else True
    return tqdm.tqdm(desc=description, disable=disable, leave=False, dynamic_ncols=True, **options)
