"""The settings of the DART classifier, checked before any work is done."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from snnjax.errors import UserError
from snnjax.spelling import did_you_mean


class DartError(UserError, ValueError):
    """Settings or recordings that DART cannot work with; the message says what would do."""


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

    The defaults are those of the authors' tracker for the descriptor and of their classifier of
    N-Caltech101 for the rest; `PRESETS` has what they use for N-MNIST.

    Attributes:
      rings: number of rings; their outer radii are evenly spaced in the logarithm.
      wedges: number of wedges, even.
      inner: radius of the innermost ring in pixels.
      outer: radius of the outermost ring in pixels; events further away do not count.
      fifo: number of latest events that describe an event, itself included.
      min_events: index, from 1, of the first event of a recording that is described.
      stride: every so many events are described; 1 for all.
      stabilize: if true, the three saccades of N-MNIST and N-Caltech101 are taken back.
      noise_filter: microseconds; an event is kept if one of the 8 pixels around it has had an event
        so long before it, or later. 0 for no filter.
      words: number of words in the codebook.
      codebook_recordings: number of training recordings that the codebook is made of.
      codebook_descriptors: number of their descriptors, at most.
      pca: number of principal components of a descriptor that words are made of; 0 for all of it.
      levels: cells each way of the levels of the spatial pyramid.
      gamma: degree of homogeneity of the chi-squared kernel.
      model: 'svm', a linear support vector machine on the kernel map; or 'forest', a random forest
        on the histograms.
      cost: C of the support vector machine.
      trees: number of trees of the forest.
      seed: seed of the samples, the codebook and the classifier.

    Raises:
      DartError: when built with a value that cannot be; the message begins with its name.
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
        above = f'above inner={self.inner:g}, and at most 2048 pixels'
        self._require('outer', above, self.inner < self.outer <= 2048)
        size = self.rings * self.wedges
        self._require('pca', f'at most rings * wedges = {size}', self.pca <= size)
        levels = all(type(level) is int and 1 <= level <= 16 for level in self.levels)
        self._require('levels', 'one or more numbers of 1 to 16', bool(self.levels) and levels)
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
"""The authors' settings by data set, where they differ from the defaults of `DartOptions`."""
