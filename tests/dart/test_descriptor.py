"""The identities of the descriptor, and a slow statement of it in NumPy."""

import numpy as np
import pytest

from snnjax.dart.cleaning import filter_noise, stabilize_saccades
from snnjax.dart.descriptor import LogPolarGrid, count_bins, describe
from snnjax.data.sources.event_files import Events

NMNIST = LogPolarGrid(rings=12, wedges=10, inner=3, outer=34 / np.sqrt(2))
SMALL = LogPolarGrid(rings=4, wedges=8, inner=2, outer=8)


def make_events(x, y, t=None, height=34, width=34):
    number = len(x)
    return Events(
        np.asarray(x, np.uint16),
        np.asarray(y, np.uint16),
        np.ones(number, bool),
        np.arange(number, dtype=np.int64) if t is None else np.asarray(t, np.int64),
        height,
        width,
    )


def random_places(number, low=0, high=34, seed=0):
    return np.random.default_rng(seed).integers(low, high, (2, number))


def slow_counts(x, y, grid, fifo, chosen):
    """Ring and wedge of each event of the queue, as the authors' code has them, from 1."""
    edges = np.logspace(np.log10(grid.inner), np.log10(grid.outer), grid.rings)
    counts = np.zeros((len(chosen), grid.rings, grid.wedges))
    for row, i in enumerate(chosen):
        for j in range(max(0, i - fifo + 1), i + 1):
            dx, dy = int(x[j]) - int(x[i]), int(y[j]) - int(y[i])
            radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
            if radius > grid.outer:
                continue
            # The logarithm rounds the radius of an edge.
            ring = 1 + int((edges * (1 + 1e-12) < radius).sum())
            wedge = int(np.ceil(grid.wedges * angle / (2 * np.pi))) + grid.wedges // 2
            counts[row, ring - 1, (wedge or grid.wedges) - 1] += 1
    return counts.reshape(len(chosen), -1)


@pytest.mark.parametrize('grid', [NMNIST, SMALL, LogPolarGrid(2, 2, 1, 60)])
@pytest.mark.parametrize(('number', 'fifo', 'first', 'stride'), [(150, 40, 0, 1), (300, 500, 9, 7)])
def test_the_queue_has_what_a_recount_finds_at_each_step(grid, number, fifo, first, stride):
    x, y = random_places(number)
    chosen = np.arange(first, number, stride)
    counts = count_bins(x, y, (34, 34), grid, fifo, chosen)
    np.testing.assert_array_equal(counts, slow_counts(x, y, grid, fifo, chosen))


def test_a_queue_much_shorter_than_the_gaps_between_described_events():
    x, y = random_places(900)
    chosen = np.array([0, 3, 500, 501, 899])
    counts = count_bins(x, y, (34, 34), SMALL, 5, chosen)
    np.testing.assert_array_equal(counts, slow_counts(x, y, SMALL, 5, chosen))


def test_descriptors_sum_to_one_and_begin_at_the_first_event_asked_for():
    x, y = random_places(100)
    descriptors, described = describe(make_events(x, y), NMNIST, fifo=50, min_events=11, stride=3)
    assert descriptors.shape == (30, 120)
    np.testing.assert_allclose(descriptors.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(described.t, np.arange(10, 100, 3))


def test_the_event_itself_is_in_the_first_ring_at_the_angle_of_zero():
    (counts,) = count_bins(np.array([5]), np.array([6]), (34, 34), NMNIST, 10)
    assert np.flatnonzero(counts).tolist() == [NMNIST.wedges // 2 - 1]


def test_no_events_and_too_few_of_them_give_no_descriptors():
    for number in (0, 3):
        descriptors, described = describe(
            make_events(*random_places(number)), SMALL, fifo=9, min_events=4
        )
        assert descriptors.shape == (0, SMALL.bins)
        assert len(described) == 0


def last_counts(x, y, grid=SMALL, shape=(80, 80)):
    number = len(x)
    return count_bins(np.asarray(x), np.asarray(y), shape, grid, number, np.array([number - 1]))[0]


def test_the_order_within_the_queue_does_not_count():
    x, y = random_places(60, 30, 50)
    order = np.append(np.random.default_rng(1).permutation(59), 59)
    np.testing.assert_array_equal(last_counts(x, y), last_counts(x[order], y[order]))
    assert not np.array_equal(last_counts(x, y), last_counts(x[::-1], y[::-1]))


def test_moved_events_have_the_same_descriptors():
    x, y = random_places(200, 20, 40)
    before = count_bins(x, y, (80, 80), SMALL, 50)
    np.testing.assert_array_equal(before, count_bins(x + 13, y - 7, (80, 80), SMALL, 50))


def test_rotated_events_have_shifted_wedges():
    """A quarter of a turn is exact on pixels: 2 of 8 wedges."""
    x, y = random_places(200, 30, 50, seed=2)
    x[-1], y[-1] = 40, 40
    # The event itself, and others at its pixel, have no angle.
    away = (x != 40) | (y != 40)
    away[-1] = True
    x, y = x[away], y[away]
    turned = last_counts(40 - (y - 40), x)
    counts, turned = last_counts(x, y), turned
    counts[SMALL.wedges // 2 - 1] -= 1
    turned[SMALL.wedges // 2 - 1] -= 1
    expected = np.roll(counts.reshape(4, 8), 2, axis=1)
    np.testing.assert_array_equal(turned.reshape(4, 8), expected)
    assert counts.sum() > 50


@pytest.mark.parametrize('wedges', [2, 10, 12])
def test_a_turn_by_a_wedge_shifts_wedges_by_one(wedges):
    grid = LogPolarGrid(6, wedges, 2, 20)
    rng = np.random.default_rng(0)
    radius, angle = rng.uniform(0.1, 25, 500), rng.uniform(-np.pi, np.pi, 500)
    bins = grid.bin_of(radius * np.cos(angle), radius * np.sin(angle))
    angle += 2 * np.pi / wedges
    turned = grid.bin_of(radius * np.cos(angle), radius * np.sin(angle))
    inside = bins >= 0
    ring, wedge = np.divmod(bins[inside], wedges)
    np.testing.assert_array_equal(turned[inside], ring * wedges + (wedge + 1) % wedges)
    assert np.all(turned[~inside] == -1)
    assert 50 < inside.sum() < 500


def test_scaled_radii_shift_rings_by_one():
    grid = LogPolarGrid(12, 10, 3, 24)
    rng = np.random.default_rng(0)
    radius, angle = rng.uniform(0.1, 24, 500), rng.uniform(-np.pi, np.pi, 500)
    bins = grid.bin_of(radius * np.cos(angle), radius * np.sin(angle))
    factor = (grid.outer / grid.inner) ** (1 / (grid.rings - 1))
    larger = grid.bin_of(factor * radius * np.cos(angle), factor * radius * np.sin(angle))
    # The first ring reaches to the middle, and the last one ends the descriptor.
    inside = (radius > grid.inner) & (radius * factor < grid.outer)
    np.testing.assert_array_equal(larger[inside], bins[inside] + grid.wedges)
    assert inside.sum() > 300
    assert np.all(larger[radius * factor > grid.outer] == -1)


def test_edges_belong_to_the_ring_and_the_wedge_that_they_end():
    grid = LogPolarGrid(3, 4, 2, 8)
    places = {(2, 0): 1, (-2, 0): 3, (0, 2): 2, (0, -2): 0, (4, 0): 5, (8, 0): 9, (0, -8): 8}
    for (dx, dy), expected in places.items():
        assert grid.bin_of(np.array(dx), np.array(dy)) == expected
    assert grid.bin_of(np.array(8.01), np.array(0)) == -1


def test_the_saccades_of_nmnist_are_taken_back():
    """By the three formulas of the authors' code, one event at a time."""
    t = np.array([0, 52_500, 105_000, 105_001, 157_500, 210_000, 250_000, 315_000])
    x, y = np.full(8, 20), np.full(8, 15)
    expected = []
    for time in t / 105e3:
        if time <= 1:
            move = 3.5 * time, 7 * time
        elif time <= 2:
            move = 3.5 + 3.5 * (time - 1), 7 - 7 * (time - 1)
        else:
            move = 7 - 7 * (time - 2), 0
        expected.append([np.floor(20 - move[0] + 0.5), np.floor(15 - move[1] + 0.5)])
    moved = stabilize_saccades(make_events(x, y, t))
    np.testing.assert_array_equal(np.stack([moved.x, moved.y], axis=1), expected)


def test_events_that_stabilizing_moves_out_are_left_out():
    moved = stabilize_saccades(make_events([1, 30], [2, 30], [105_000, 105_001]))
    assert moved.x.tolist() == [26]


def test_noise_is_what_no_neighbor_has_announced():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 8, 300), rng.integers(0, 6, 300)
    t = np.sort(rng.integers(0, 30_000, 300))
    events = make_events(x, y, t, 6, 8)
    window = 400
    kept = []
    for i in range(300):
        near = [max(abs(x[j] - x[i]), abs(y[j] - y[i])) == 1 for j in range(i)]
        recent = [t[i] - t[j] <= window for j in range(i)]
        if any(a and b for a, b in zip(near, recent, strict=True)):
            kept.append(i)
    filtered = filter_noise(events, window)
    np.testing.assert_array_equal(filtered.t, t[kept])
    np.testing.assert_array_equal(filtered.x, x[kept])
    assert 50 < len(kept) < 290
