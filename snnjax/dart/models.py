"""The models that read histograms: a linear support vector machine, and a random forest.

Both are plain arrays once they are trained, and predict with NumPy, so that they can be kept in a
file that nothing can be executed from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from snnjax.dart.options import DartOptions

# Of the kernel's spectrum. By 0.7 a number's product with itself is 0.7 % too large; by 0.5, which
# scikit-learn takes for this order, 10 % too small.
_INTERVAL = 0.7


def chi2_map(histograms: Any, gamma: float) -> Any:
    """Maps histograms so that products of their maps are about their chi-squared kernels.

    The kernel of two numbers is ``(x * y)**(gamma / 2) * 2 * sqrt(x * y) / (x + y)``. With
    ``gamma = 1`` this is the additive chi-squared kernel, ``2 * x * y / (x + y)``. The map is that
    of Vedaldi and Zisserman (2012) of order 1, three numbers for each.

    Args:
      histograms: sparse (N, F), not negative.
      gamma: degree of homogeneity.

    Returns:
      Sparse (N, 3 F).
    """
    from scipy import sparse
    from sklearn.kernel_approximation import AdditiveChi2Sampler

    sampler = AdditiveChi2Sampler(sample_steps=2, sample_interval=_INTERVAL)
    mapped = sampler.fit_transform(histograms)
    if gamma == 1:
        return mapped
    # The degree changes the length of the map of a number, not its angle.
    scale = histograms.copy()
    scale.data **= (gamma - 1) / 2
    return mapped.multiply(sparse.hstack([scale] * 3, format='csr')).tocsr()


@dataclasses.dataclass(frozen=True, eq=False)
class LinearModel:
    """One linear function of the mapped histograms for each class.

    Attributes:
      weights: (classes, 3 F) float32.
      bias: (classes,) float32.
      gamma: degree of homogeneity, see `chi2_map`.
    """

    weights: np.ndarray
    bias: np.ndarray
    gamma: float

    def scores(self, histograms: Any) -> np.ndarray:
        """Returns the scores of the classes, (N, classes), of sparse histograms (N, F)."""
        return chi2_map(histograms, self.gamma) @ self.weights.T + self.bias

    @property
    def size(self) -> int:
        """Returns the number of parameters."""
        return self.weights.size + self.bias.size

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that the model is made of."""
        return {'weights': self.weights, 'bias': self.bias}


def fit_linear(histograms: Any, labels: np.ndarray, classes: int, options: DartOptions) -> Any:
    """Trains a linear support vector machine, one class against the rest.

    Args:
      histograms: sparse (N, F).
      labels: (N,) of 0 to ``classes - 1``; a class without examples is never predicted.
      classes: number of classes.
      options: the settings.
    """
    from sklearn.svm import LinearSVC

    mapped = chi2_map(histograms, options.gamma)
    machine = LinearSVC(C=options.cost, loss='hinge', random_state=options.seed, max_iter=20_000)
    machine.fit(mapped, labels)
    rows, bias = machine.coef_, machine.intercept_
    if len(machine.classes_) == 2:
        rows, bias = np.concatenate([-rows, rows]), np.concatenate([-bias, bias])
    weights = np.zeros((classes, mapped.shape[1]), np.float32)
    offsets = np.full(classes, -1e9, np.float32)
    weights[machine.classes_], offsets[machine.classes_] = rows, bias
    return LinearModel(weights, offsets, options.gamma)


@dataclasses.dataclass(frozen=True, eq=False)
class Forest:
    """A random forest: the nodes of all trees in a row.

    Attributes:
      feature: (nodes,) int32, column that is compared; -1 at a leaf.
      threshold: (nodes,) float64; up to it the left branch is taken.
      left: (nodes,) int32, index of the node on the left.
      right: (nodes,) int32, likewise.
      shares: (nodes, classes) float32, classes of the training examples at a node.
      roots: (trees,) int32, index of the first node of each tree.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    shares: np.ndarray
    roots: np.ndarray

    def scores(self, histograms: Any) -> np.ndarray:
        """Returns the scores of the classes, (N, classes), of sparse histograms (N, F)."""
        scores = np.zeros((histograms.shape[0], self.shares.shape[1]))
        for row in range(len(scores)):
            values = histograms[row].toarray()[0]
            node = self.roots
            while np.any(self.feature[node] >= 0):
                feature = self.feature[node]
                goes_left = values[feature] <= self.threshold[node]
                below = np.where(goes_left, self.left[node], self.right[node])
                node = np.where(feature >= 0, below, node)
            scores[row] = self.shares[node].mean(axis=0)
        return scores

    @property
    def size(self) -> int:
        """Returns the number of parameters: a column and a threshold for each branching."""
        return 2 * int((self.feature >= 0).sum())

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that the model is made of."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def fit_forest(histograms: Any, labels: np.ndarray, classes: int, options: DartOptions) -> Forest:
    """Trains a random forest; see `fit_linear` for the arguments."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(options.trees, random_state=options.seed)
    forest.fit(histograms, labels)
    trees = [tree.tree_ for tree in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    shares = np.zeros((sum(tree.node_count for tree in trees), classes), np.float32)
    counts = np.concatenate([tree.value[:, 0] for tree in trees])
    shares[:, forest.classes_] = counts / counts.sum(axis=1, keepdims=True)
    feature = np.concatenate([tree.feature for tree in trees])
    is_leaf = feature < 0
    left, right = (
        np.where(
            is_leaf,
            0,
            np.concatenate(
                [
                    getattr(tree, f'children_{side}') + r
                    for tree, r in zip(trees, roots, strict=True)
                ]
            ),
        )
        for side in ('left', 'right')
    )
    return Forest(
        np.where(is_leaf, -1, feature).astype(np.int32),
        np.concatenate([tree.threshold for tree in trees]),
        left.astype(np.int32),
        right.astype(np.int32),
        shares,
        roots.astype(np.int32),
    )
