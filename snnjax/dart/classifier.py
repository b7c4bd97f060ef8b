"""Training and evaluation of the DART classifier."""

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

# The number of histograms that are classified together.
_TOGETHER = 64

Watch = Callable[[Sequence[int], str], Iterable[int]]
"""A function that yields the given indices and shows progress; the text names the task."""

Say = Callable[[str], None]
"""A function that shows a line of text."""


@dataclasses.dataclass(frozen=True, eq=False)
class DartClassifier:
    """A trained classifier.

    Attributes:
      options: the settings.
      class_names: the names of the classes by label.
      shape: the rows and columns of the camera.
      codebook: the codebook.
      model: the model that classifies the histograms.
    """

    options: DartOptions
    class_names: tuple[str, ...]
    shape: tuple[int, int]
    codebook: Codebook
    model: LinearModel | Forest

    @property
    def size(self) -> int:
        """Returns the number of parameters of the codebook and the model."""
        codebook = (self.codebook.words, self.codebook.mean, self.codebook.axes)
        return sum(array.size for array in codebook) + self.model.size

    def histogram(self, events: Events) -> np.ndarray:
        """Returns the histogram of a recording, (cells * words,) float32.

        Raises:
          DartError: if the camera has another size than in training.
        """
        if (events.height, events.width) != self.shape:
            raise DartError(
                f'the camera has {events.height}x{events.width} pixels, but the classifier was '
                f'trained on {self.shape[0]}x{self.shape[1]}'
            )
        return _histogram(events, self.codebook, self.options)

    def predict(self, recordings: Iterable[Events]) -> np.ndarray:
        """Returns the predicted labels of recordings, (N,) int64.

        Raises:
          DartError: if a camera has another size than in training.
        """
        rows = (self.histogram(events) for events in recordings)
        histograms = stack_sparse(rows, self.options.cells * self.options.words)
        return self.model.scores(histograms).argmax(axis=1)


def _histogram(events: Events, codebook: Codebook, options: DartOptions) -> np.ndarray:
    descriptors, described = describe_recording(events, options)
    words = codebook.nearest(descriptors)
    return normalized(pyramid_histogram(words, described, options.words, options.levels))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The accuracy of a classifier on a split.

    Attributes:
      correct: the number of correctly classified recordings.
      recordings: the number of recordings.
      events: the number of events in the recordings.
      undescribed: the number of recordings with too few events for a descriptor; all of them get
        the same label.
      seconds: the duration of the evaluation, including reading, in seconds.
    """

    correct: int
    recordings: int
    events: int
    undescribed: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Returns the share of correctly classified recordings."""
        return self.correct / self.recordings


def plain(numbers: Sequence[int], what: str) -> Iterable[int]:
    """Returns the indices unchanged and shows nothing."""
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
      class_names: the names of the classes by label.
      options: the settings.
      watch: a function that shows progress.
      say: a function that announces long steps without progress.

    Returns:
      The classifier, and a dictionary with ``codebook_seconds``, ``histogram_seconds``,
      ``model_seconds``, and ``train_events``, the number of events of all recordings.

    Raises:
      DartError: if there are too few recordings, classes or events.
    """
    labels = split.labels
    present = np.unique(labels)
    if len(present) < 2:
        raise DartError(
            f'{count(len(labels), "training recording")} of {count(len(present), "class")}: add '
            f'recordings, so that at least two classes have some'
        )
    started = time.perf_counter()
    most = min(len(split), options.codebook_recordings)
    # A random sample, since the recordings are sorted by class.
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
    say(f'model: {options.model} on {histograms.nnz:,} nonzero values')
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
      watch: a function that shows progress.

    Raises:
      DartError: if the split has no recordings, another camera, or other classes than in training.
    """
    labels = split.labels
    classes = len(classifier.class_names)
    if not len(labels):
        raise DartError('the split has no recordings to evaluate')
    if labels.max() >= classes:
        raise DartError(
            f'a recording has label {labels.max()}, but the classifier was trained on '
            f'{count(classes, "class")}'
        )
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
