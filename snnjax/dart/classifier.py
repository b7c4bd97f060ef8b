"""The whole classifier: trained on the recordings of a split, and kept in a file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from snnjax.dart.bag_of_words import (
    Codebook,
    describe_recording,
    fit_codebook,
    normalized,
    pyramid_histogram,
    sample_descriptors,
    stack_sparse,
)
from snnjax.dart.models import Forest, LinearModel, fit_forest, fit_linear
from snnjax.dart.options import DartError, DartOptions
from snnjax.data.sources.event_files import Events
from snnjax.data.splits import EventSplit
from snnjax.spelling import count

# Histograms that are classified together.
_TOGETHER = 64

Watch = Callable[[Sequence[int], str], Iterable[int]]
"""Passes indices on and shows how far they have come; the text says what is being done."""

Say = Callable[[str], None]
"""Shows a line."""


@dataclasses.dataclass(frozen=True, eq=False)
class DartClassifier:
    """A trained classifier.

    Attributes:
      options: the settings.
      class_names: names of the classes by label.
      shape: rows and columns of the camera.
      codebook: the words.
      model: the model that reads the histograms.
    """

    options: DartOptions
    class_names: tuple[str, ...]
    shape: tuple[int, int]
    codebook: Codebook
    model: LinearModel | Forest

    @property
    def size(self) -> int:
        """Returns the number of parameters: those of the codebook and of the model."""
        codebook = (self.codebook.words, self.codebook.mean, self.codebook.axes)
        return sum(array.size for array in codebook) + self.model.size

    def histogram(self, events: Events) -> np.ndarray:
        """Returns the histogram of a recording, (cells * words,) float32.

        Raises:
          DartError: for a camera of another size.
        """
        if (events.height, events.width) != self.shape:
            raise DartError(
                f'a camera of {events.height}x{events.width} pixels: the classifier was trained on '
                f'{self.shape[0]}x{self.shape[1]}'
            )
        return _histogram(events, self.codebook, self.options)

    def predict(self, recordings: Iterable[Events]) -> np.ndarray:
        """Returns the labels that recordings are given, (N,) int64; see `histogram`."""
        rows = (self.histogram(events) for events in recordings)
        histograms = stack_sparse(rows, self.options.cells * self.options.words)
        return self.model.scores(histograms).argmax(axis=1)


def _histogram(events: Events, codebook: Codebook, options: DartOptions) -> np.ndarray:
    descriptors, described = describe_recording(events, options)
    words = codebook.nearest(descriptors)
    return normalized(pyramid_histogram(words, described, options.words, options.levels))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracy of a classifier on a split.

    Attributes:
      correct: number of recordings that were given their label.
      recordings: number of recordings.
      events: number of events in them.
      undescribed: number of recordings with too few events to be described; each is given the same
        label.
      seconds: duration of the evaluation, reading included.
    """

    correct: int
    recordings: int
    events: int
    undescribed: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Returns the share of the recordings that were given their label."""
        return self.correct / self.recordings


def plain(numbers: Sequence[int], what: str) -> Iterable[int]:
    """Passes indices on and shows nothing."""
    del what
    return numbers


def train(
    split: EventSplit,
    class_names: Sequence[str],
    options: DartOptions,
    watch: Watch = plain,
    say: Say = lambda line: None,
) -> tuple[DartClassifier, dict[str, float]]:
    """Trains a classifier.

    Args:
      split: the training recordings.
      class_names: names of the classes by label.
      options: the settings.
      watch: shows progress.
      say: shows what takes long without progress.

    Returns:
      The classifier; and ``codebook_seconds``, ``histogram_seconds``, ``model_seconds``, and
      ``train_events``, the events of all recordings.

    Raises:
      DartError: for too few recordings, classes or events.
    """
    labels = split.labels
    present = np.unique(labels)
    if len(present) < 2:
        raise DartError(
            f'{count(len(labels), "training recording")} of {count(len(present), "class")}: at '
            f'least two classes need recordings to train with'
        )
    started = time.perf_counter()
    most = min(len(split), options.codebook_recordings)
    # At random, as classes follow each other.
    rng = np.random.default_rng((options.seed, 0))
    numbers = np.sort(rng.permutation(len(split))[:most])
    read = _read(split, watch(numbers.tolist(), 'codebook: descriptors'))
    descriptors = sample_descriptors(read, most, options)
    say(f'codebook: {options.words:,} words of {len(descriptors):,} descriptors')
    codebook = fit_codebook(descriptors, options)
    times = {'codebook_seconds': time.perf_counter() - started}

    started = time.perf_counter()
    sizes: list[int] = []
    rows = (
        _histogram(events, codebook, options)
        for events in _noting(sizes, _read(split, watch(range(len(split)), 'train: words')))
    )
    histograms = stack_sparse(rows, options.cells * options.words)
    times |= {'histogram_seconds': time.perf_counter() - started, 'train_events': sum(sizes)}

    started = time.perf_counter()
    say(f'model: {options.model} on {histograms.nnz:,} numbers that are not 0')
    fit = fit_linear if options.model == 'svm' else fit_forest
    model = fit(histograms, labels, len(class_names), options)
    times['model_seconds'] = time.perf_counter() - started
    shape = split.height, split.width
    return DartClassifier(options, tuple(class_names), shape, codebook, model), times


def evaluate(classifier: DartClassifier, split: EventSplit, watch: Watch = plain) -> Evaluation:
    """Evaluates a classifier on all recordings of a split.

    Args:
      classifier: the classifier.
      split: the recordings.
      watch: shows progress.

    Raises:
      DartError: for a split without recordings, another camera, or other classes.
    """
    labels = split.labels
    classes = len(classifier.class_names)
    if not len(labels):
        raise DartError('there are no recordings to evaluate with')
    if labels.max() >= classes:
        raise DartError(f'label {labels.max()}: the classifier was trained on {classes} classes')
    started = time.perf_counter()
    sizes: list[int] = []
    rows = []
    correct = undescribed = 0
    for number, events in enumerate(
        _noting(sizes, _read(split, watch(range(len(split)), 'test: words')))
    ):
        rows.append(classifier.histogram(events))
        if len(rows) == _TOGETHER or number == len(split) - 1:
            histograms = stack_sparse(rows, classifier.options.cells * classifier.options.words)
            found = classifier.model.scores(histograms).argmax(axis=1)
            correct += int((found == labels[number + 1 - len(rows) : number + 1]).sum())
            undescribed += int((np.diff(histograms.indptr) == 0).sum())
            rows = []
    seconds = time.perf_counter() - started
    return Evaluation(correct, len(labels), sum(sizes), undescribed, seconds)


def _read(split: EventSplit, numbers: Iterable[int]) -> Iterator[Events]:
    for number in numbers:
        (events,), _ = split.recordings(np.array([number]))
        yield events


def _noting(sizes: list[int], recordings: Iterable[Events]) -> Iterator[Events]:
    for events in recordings:
        sizes.append(len(events))
        yield events
