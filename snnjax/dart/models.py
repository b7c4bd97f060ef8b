"""Models that classify histograms: a linear support vector machine and a random forest.

A trained model consists of arrays and predicts with NumPy. It can therefore be stored in a file
that cannot execute code.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from snnjax.dart.options import DartOptions

# The sampling interval of the kernel's spectrum. With 0.7, the product of a value's map with itself
# is 0.7 % too large; with 0.5, scikit-learn's value for this order, it is 10 % too small.
_INTERVAL = 0.7


def chi2_map(histograms: Any, gamma: float) -> Any:
    """Maps histograms to features with dot products that approximate a chi-squared kernel.

    The kernel of two values is ``(x * y)**(gamma / 2) * 2 * sqrt(x * y) / (x + y)``. With
    ``gamma = 1`` this is the additive chi-squared kernel, ``2 * x * y / (x + y)``. The map is of
    order 1 and has three features per value. Source: Vedaldi and Zisserman (2012).

    Args:
      histograms: sparse matrix of shape (N, F), not negative.
      gamma: the degree of homogeneity.

    Returns:
      A sparse matrix of shape (N, 3 F).
    """
    from scipy import sparse
    from sklearn.kernel_approximation import AdditiveChi2Sampler

    sampler = AdditiveChi2Sampler(sample_steps=2, sample_interval=_INTERVAL)
    mapped = sampler.fit_transform(histograms)
    if gamma == 1:
        return mapped
    # The degree scales the features of a value and keeps their direction.
    scale = histograms.copy()
    scale.data **= (gamma - 1) / 2
    return mapped.multiply(sparse.hstack([scale] * 3, format='csr')).tocsr()


@dataclasses.dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear function of the mapped histograms for each class.

    Attributes:
      weights: float32 array of shape (classes, 3 F).
      bias: float32 array of shape (classes,).
      gamma: the degree of homogeneity, as in `chi2_map`.
    """

    weights: np.ndarray
    bias: np.ndarray
    gamma: float

    def scores(self, histograms: Any) -> np.ndarray:
        """Returns the class scores, (N, classes), of sparse histograms of shape (N, F)."""
        return chi2_map(histograms, self.gamma) @ self.weights.T + self.bias

    @property
    def size(self) -> int:
        """Returns the number of parameters."""
        return self.weights.size + self.bias.size

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays of the model by name."""
        return {'weights': self.weights, 'bias': self.bias}


def fit_linear(histograms: Any, labels: np.ndarray, classes: int, options: DartOptions) -> Any:
    """Trains a linear support vector machine, one class against the rest.

    Args:
      histograms: sparse matrix of shape (N, F).
      labels: integer array of shape (N,), 0 to ``classes - 1``. A class without examples is never
        predicted.
      classes: the number of classes.
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
    """A random forest, with the nodes of all trees concatenated.

    Attributes:
      feature: int32 array of shape (nodes,), the column to compare; -1 at a leaf.
      threshold: float64 array of shape (nodes,); values up to the threshold go left.
      left: int32 array of shape (nodes,), the index of the left child.
      right: int32 array of shape (nodes,), the index of the right child.
      shares: float32 array of shape (nodes, classes), the share of each class among the training
        examples at a node.
      roots: int32 array of shape (trees,), the index of the first node of each tree.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    shares: np.ndarray
    roots: np.ndarray

    def scores(self, histograms: Any) -> np.ndarray:
        """Returns the class scores, (N, classes), of sparse histograms of shape (N, F)."""
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
        """Returns the number of parameters: a column and a threshold for each inner node."""
        return 2 * int((self.feature >= 0).sum())

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays of the model by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def fit_forest(histograms: Any, labels: np.ndarray, classes: int, options: DartOptions) -> Forest:
    """Trains a random forest; the arguments are those of `fit_linear`."""
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
