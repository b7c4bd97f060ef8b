"""The settings of the DART classifier, which are validated on construction."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from snnjax.errors import UserError
from snnjax.spelling import did_you_mean


class DartError(UserError, ValueError):
    """Settings or recordings that DART cannot use; the message says what is expected."""


MODELS = ('svm', 'forest')
_MOST = {
    'rings': 64,
    'wedges': 64,
    'fifo': 10**6,
    'min_events': 10**6,
    'stride': 10**6,
    'noise_filter': 10**9,
    'words': 100_000,
    'codebook_recordings': 10**6,
    'codebook_descriptors': 10**7,
    'pca': 64 * 64,
    'trees': 10_000,
    'seed': 2**31 - 1,
}


@dataclasses.dataclass(frozen=True)
class DartOptions:
    """The settings of the descriptor, the codebook and the classifier.

    The defaults for the descriptor are those of the authors' tracker; the other defaults are those
    of their N-Caltech101 classifier. `PRESETS` has their settings for N-MNIST.

    Attributes:
      rings: the number of rings; their outer radii are evenly spaced in the logarithm.
      wedges: the number of wedges, even.
      inner: the outer radius of the innermost ring in pixels.
      outer: the outer radius of the outermost ring in pixels; events beyond it are not counted.
      fifo: the number of latest events that describe an event, including itself.
      min_events: the index, from 1, of the first described event of a recording.
      stride: the distance between described events; 1 describes all.
      stabilize: true to compensate the three saccades of N-MNIST and N-Caltech101.
      noise_filter: a time in microseconds; an event is kept if one of the 8 pixels around it had an
        event at most this long before it. 0 for no filter.
      words: the number of words in the codebook.
      codebook_recordings: the largest number of training recordings for the codebook.
      codebook_descriptors: the largest number of descriptors for the codebook, drawn from these
        recordings.
      pca: the number of principal components of a descriptor; 0 for no projection.
      levels: the number of cells per side, for each level of the spatial pyramid.
      gamma: the degree of homogeneity of the chi-squared kernel.
      model: the model: 'svm' for a linear support vector machine on the kernel map, 'forest' for a
        random forest on the histograms.
      cost: the parameter C of the support vector machine.
      trees: the number of trees of the forest.
      seed: the seed of the samples, the codebook and the classifier.

    Raises:
      DartError: if a value is invalid; the message names the setting.
    """

    rings: int = 10
    wedges: int = 12
    inner: float = 3.0
    outer: float = 30.0
    fifo: int = 5000
    min_events: int = 200
    stride: int = 1
    stabilize: bool = False
    noise_filter: int = 0
    words: int = 3000
    codebook_recordings: int = 300
    codebook_descriptors: int = 200_000
    pca: int = 0
    levels: tuple[int, ...] = (1, 2, 3)
    gamma: float = 0.5
    model: str = 'svm'
    cost: float = 10.0
    trees: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is float and type(value) is int:
                continue
            self._require(field.name, f'of type {kind.__name__}', type(value) is kind)
        least = {'rings': 2, 'wedges': 2, 'words': 2, 'noise_filter': 0, 'pca': 0, 'seed': 0}
        for name, most in _MOST.items():
            low = least.get(name, 1)
            self._require(name, f'{low} to {most:,}', low <= getattr(self, name) <= most)
        self._require('wedges', 'even', self.wedges % 2 == 0)
        self._require('inner', 'at least 1 pixel', 1 <= self.inner < math.inf)
        above = f'above inner={self.inner:g} and at most 2048 pixels'
        self._require('outer', above, self.inner < self.outer <= 2048)
        size = self.rings * self.wedges
        self._require('pca', f'at most rings * wedges = {size}', self.pca <= size)
        levels = all(type(level) is int and 1 <= level <= 16 for level in self.levels)
        self._require('levels', 'one or more integers from 1 to 16', bool(self.levels) and levels)
        self._require('gamma', 'above 0 and at most 1', 0 < self.gamma <= 1)
        self._require('cost', 'above 0', 0 < self.cost < math.inf)
        if self.model not in MODELS:
            raise DartError(f'unknown model={self.model!r}; {did_you_mean(self.model, MODELS)}')

    @property
    def cells(self) -> int:
        """Returns the number of cells of the pyramid."""
        return sum(level**2 for level in self.levels)

    def _require(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            raise DartError(f'{name}={getattr(self, name)} must be {expected}')


PRESETS: dict[str, dict[str, Any]] = {
    'nmnist': {
        'rings': 12,
        'wedges': 10,
        'outer': 34 / math.sqrt(2),
        'stabilize': True,
    },
}
"""The authors' settings that differ from the defaults of `DartOptions`, by data set."""
