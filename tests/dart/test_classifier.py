import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier

from snnjax.dart.bag_of_words import (
    describe_recording,
    fit_codebook,
    normalized,
    pyramid_histogram,
    stack_sparse,
)
from snnjax.dart.models import chi2_map, fit_forest, fit_linear
from snnjax.dart.options import DartError, DartOptions
from snnjax.data.sources.event_files import Events

OPTIONS = DartOptions(words=6, rings=3, wedges=4, outer=9.0, min_events=5, fifo=50)


def recording(number=200, height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, width, number), rng.integers(0, height, number)
    on, t = rng.random(number) < 0.5, np.sort(rng.integers(0, 10**5, number))
    return Events(x.astype(np.uint16), y.astype(np.uint16), on, t, height, width)


def test_words_are_the_nearest_centers():
    descriptors, _ = describe_recording(recording(), OPTIONS)
    for pca in (0, 5):
        book = fit_codebook(descriptors, DartOptions(words=6, rings=3, wedges=4, pca=pca))
        reduced = (descriptors - book.mean) @ book.axes.T if pca else descriptors
        distances = ((reduced[:, None] - book.words) ** 2).sum(axis=-1)
        np.testing.assert_array_equal(book.nearest(descriptors), distances.argmin(axis=1))
        assert book.words.shape == (6, pca or 12)


def test_events_out_of_order_are_described_in_order():
    events = recording()
    order = np.random.default_rng(1).permutation(len(events))
    unique = Events(events.x, events.y, events.on, np.arange(len(events)), 20, 30)
    expected, described = describe_recording(unique, OPTIONS)
    found, found_described = describe_recording(unique[order], OPTIONS)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_described.t, described.t)


def test_each_level_of_the_pyramid_sums_to_one():
    events = recording()
    words = np.random.default_rng(0).integers(0, 6, len(events))
    levels = (1, 2, 3)
    histogram = pyramid_histogram(words, events, 6, levels)
    assert histogram.shape == (14 * 6,)
    start = 0
    for level in levels:
        part = histogram[start : start + level**2 * 6]
        assert part.sum() == pytest.approx(1)
        slow = np.zeros((level, level, 6))
        for x, y, word in zip(events.x, events.y, words, strict=True):
            slow[int(y * level / 20), int(x * level / 30), word] += 1 / len(events)
        np.testing.assert_allclose(part, slow.ravel(), atol=1e-6)
        start += len(part)
    assert np.linalg.norm(normalized(histogram)) == pytest.approx(1)


def test_a_recording_without_descriptors_has_no_words():
    histogram = pyramid_histogram(np.zeros(0, int), recording(0), 6, (1, 2))
    assert not normalized(histogram).any()


@pytest.mark.parametrize('gamma', [1.0, 0.5])
def test_products_of_the_map_are_about_the_kernel(gamma):
    rng = np.random.default_rng(0)
    x = rng.random((20, 30)) * (rng.random((20, 30)) < 0.5)
    x /= x.sum(axis=1, keepdims=True)
    mapped = chi2_map(sparse.csr_matrix(x), gamma).toarray()
    product = x[:, None] * x[None]
    kernel = product ** (gamma / 2) * 2 * np.sqrt(product) / np.maximum(x[:, None] + x[None], 1e-9)
    kernel = kernel.sum(axis=-1)
    assert mapped.shape == (20, 90)
    error = mapped @ mapped.T - kernel
    # The interval is chosen so.
    np.testing.assert_allclose(np.diag(error), 0.00675 * np.diag(kernel), rtol=0.001)
    assert np.abs(error).max() < 0.05 * kernel.max()
    linear = x @ x.T
    assert np.abs(linear / linear.max() - kernel / kernel.max()).max() > 0.2


def toy_histograms():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], 20)
    histograms = rng.random((40, 12)) * 0.2
    histograms[labels == 2, :6] += 0.3
    return stack_sparse(map(normalized, histograms), 12), labels


def test_a_class_without_examples_is_never_predicted():
    histograms, labels = toy_histograms()
    for fit in (fit_linear, fit_forest):
        model = fit(histograms, labels, 3, DartOptions(trees=5))
        scores = model.scores(histograms)
        assert scores.shape == (40, 3)
        np.testing.assert_array_equal(scores.argmax(axis=1), labels)


def test_the_forest_of_arrays_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    histograms = sparse.csr_matrix(rng.random((60, 10)).astype(np.float32))
    labels = rng.integers(0, 3, 60)
    forest = fit_forest(histograms, labels, 3, DartOptions(trees=7, seed=3))
    theirs = RandomForestClassifier(7, random_state=3).fit(histograms, labels)
    others = sparse.csr_matrix(rng.random((50, 10)).astype(np.float32))
    np.testing.assert_allclose(forest.scores(others), theirs.predict_proba(others), atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'rings': 1}, 'rings=1 must be 2 to 64'),
        ({'wedges': 5}, 'wedges=5 must be even'),
        ({'inner': 30}, 'outer=30.0 must be above inner=30'),
        ({'inner': float('nan')}, 'inner=nan must be at least 1 pixel'),
        ({'pca': 500}, r'pca=500 must be at most rings \* wedges = 120'),
        ({'levels': ()}, r'levels=\(\) must be one or more'),
        ({'gamma': 0.0}, 'gamma=0.0 must be above 0'),
        ({'model': 'smv'}, "unknown model='smv'; did you mean svm"),
        ({'words': 'many'}, 'words=many must be of type int'),
        ({'fifo': True}, 'fifo=True must be of type int'),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(DartError, match=message):
        DartOptions(**options)


def test_fewer_descriptors_than_words_are_refused():
    with pytest.raises(DartError, match='words=3,000: the training recordings gave 10 descriptors'):
        fit_codebook(np.zeros((10, 120), np.float32), DartOptions())
