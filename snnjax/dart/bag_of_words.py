"""The bag-of-words step: descriptors to words of a codebook, to a spatial-pyramid histogram.

Source: Ramesh et al. 2020, with the settings of the authors' code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from snnjax.dart.cleaning import filter_noise, stabilize_saccades
from snnjax.dart.descriptor import LogPolarGrid, describe
from snnjax.dart.options import DartError, DartOptions
from snnjax.data.sources.event_files import Events

# The number of descriptors compared with all words at once; 3,000 words take 24 MB of distances.
_CHUNK = 2048


def describe_recording(events: Events, options: DartOptions) -> tuple[np.ndarray, Events]:
    """Cleans a recording and describes its events.

    Args:
      events: the events of the recording; times start at the beginning of the recording.
      options: the settings.

    Returns:
      The descriptors, (M, rings * wedges) float32, and the M events that they describe. M is 0 if
      the recording has fewer than ``min_events`` events.
    """
    if np.any(np.diff(events.t) < 0):
        events = events[np.argsort(events.t, kind='stable')]
    if options.noise_filter:
        events = filter_noise(events, options.noise_filter)
    if options.stabilize:
        events = stabilize_saccades(events)
    grid = LogPolarGrid(options.rings, options.wedges, options.inner, options.outer)
    return describe(
        events,
        grid,
        fifo=options.fifo,
        min_events=options.min_events,
        stride=options.stride,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Codebook:
    """The words of a codebook, with an optional projection to principal components.

    Attributes:
      words: float32 array of shape (K, D), the words.
      mean: float32 array of shape (rings * wedges,), the mean descriptor; empty without principal
        components.
      axes: float32 array of shape (D, rings * wedges), the principal components; empty without
        principal components.
    """

    words: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    def nearest(self, descriptors: np.ndarray) -> np.ndarray:
        """Returns the index of the nearest word of each descriptor, by Euclidean distance.

        Args:
          descriptors: float32 array of shape (M, rings * wedges).

        Returns:
          int64 array of shape (M,).
        """
        found = np.zeros(len(descriptors), np.int64)
        offset = (self.words**2).sum(axis=1) / 2
        for start in range(0, len(descriptors), _CHUNK):
            part = slice(start, start + _CHUNK)
            scores = self._reduce(descriptors[part]) @ self.words.T
            scores -= offset
            found[part] = scores.argmax(axis=1)
        return found

    def _reduce(self, descriptors: np.ndarray) -> np.ndarray:
        return (descriptors - self.mean) @ self.axes.T if len(self.mean) else descriptors


def fit_codebook(descriptors: np.ndarray, options: DartOptions) -> Codebook:
    """Fits the words of a codebook with k-means.

    Args:
      descriptors: float32 array of shape (N, rings * wedges).
      options: the settings.

    Raises:
      DartError: if there are fewer descriptors than words.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    if len(descriptors) < options.words:
        raise DartError(
            f'words={options.words:,}: the training recordings gave {len(descriptors):,} '
            f'descriptors; give more recordings, fewer words, or a smaller stride or min_events'
        )
    mean, axes = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
    reduced = descriptors
    if options.pca:
        pca = PCA(options.pca, random_state=options.seed).fit(descriptors)
        mean, axes = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
        reduced = (descriptors - mean) @ axes.T
    means = MiniBatchKMeans(
        options.words,
        init='random',
        n_init=1,
        max_iter=10,
        batch_size=8192,
        # Empty words are replaced by random samples, which also depend on the seed.
        random_state=options.seed,
    ).fit(reduced)
    return Codebook(means.cluster_centers_.astype(np.float32), mean, axes)


def sample_descriptors(
    recordings: Iterable[Events], count: int, options: DartOptions
) -> np.ndarray:
    """Draws random descriptors, the same number from each recording that has enough of them.

    Args:
      recordings: the recordings to draw from.
      count: the number of recordings.
      options: the settings.

    Returns:
      float32 array of shape (N, rings * wedges), with N at most ``codebook_descriptors``, or one
      per recording if there are more recordings than that.
    """
    rng = np.random.default_rng((options.seed, 1))
    each = max(1, options.codebook_descriptors // max(count, 1))
    drawn = [np.zeros((0, options.rings * options.wedges), np.float32)]
    for events in recordings:
        descriptors, _ = describe_recording(events, options)
        kept = rng.permutation(len(descriptors))[:each]
        drawn.append(descriptors[np.sort(kept)])
    return np.concatenate(drawn)


def pyramid_histogram(
    words: np.ndarray, events: Events, num_words: int, levels: Sequence[int]
) -> np.ndarray:
    """Counts the words in the cells of each level of a spatial pyramid.

    Args:
      words: integer array of shape (M,), the indices of the words.
      events: the M events that the words describe.
      num_words: the number of words in the codebook, K.
      levels: the number of cells per side, for each level.

    Returns:
      float32 array of shape (cells of all levels * K,). Each level has a sum of 1, or 0 without
      events.
    """
    histograms = []
    for level in levels:
        row = events.y.astype(np.int64) * level // events.height
        column = events.x.astype(np.int64) * level // events.width
        index = (row * level + column) * num_words + words
        counts = np.bincount(index, minlength=level**2 * num_words)
        histograms.append(counts / max(len(words), 1))
    return np.concatenate(histograms).astype(np.float32)


def normalized(histogram: np.ndarray) -> np.ndarray:
    """Scales a histogram to a sum of 1, and then to a Euclidean norm of 1; zeros stay zeros."""
    total = histogram.sum()
    histogram = histogram / total if total else histogram
    length = np.linalg.norm(histogram)
    return histogram / length if length else histogram


def stack_sparse(histograms: Iterable[np.ndarray], length: int) -> Any:
    """Stacks histograms as the rows of a sparse matrix.

    Args:
      histograms: the rows, arrays of shape (length,).
      length: the number of columns of the matrix.

    Returns:
      A ``scipy.sparse.csr_matrix`` of float32.
    """
    from scipy import sparse

    indices, values, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], [0]
    for histogram in histograms:
        places = np.flatnonzero(histogram)
        indices.append(places)
        values.append(histogram[places].astype(np.float32))
        ends.append(ends[-1] + len(places))
    return sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(indices), np.array(ends)),
        shape=(len(ends) - 1, length),
    )
