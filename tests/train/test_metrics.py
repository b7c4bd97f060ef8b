import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.train import metrics


def test_means_are_over_the_images_that_count():
    sums = metrics.batch_sums(
        losses=jnp.array([1.0, 2.0, 100.0]),
        logits=jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        labels=jnp.array([0, 1, 1]),
        firing_rates=jnp.array([0.1, 0.3, 0.9]),
        mask=jnp.array([True, True, False]),
    )
    total = metrics.add(metrics.add({}, sums), sums)
    assert total['images'] == 4
    assert metrics.means(total, 'eval') == pytest.approx(
        {'eval/loss': 1.5, 'eval/accuracy': 0.5, 'eval/firing_rate': 0.2}
    )


def test_the_best_five_are_counted_as_a_sorted_list_has_them():
    rng = np.random.default_rng(0)
    # With many scores alike: of these the class that comes first is the higher.
    logits = rng.integers(0, 4, (200, 12)).astype(np.float32)
    labels, mask = rng.integers(0, 12, 200, dtype=np.int32), rng.random(200) < 0.7
    best = np.argsort(-logits, axis=1, kind='stable')[:, :5]
    expected = np.sum((best == labels[:, None]).any(1) & mask)
    assert 0 < expected < mask.sum()
    assert metrics.correct_top5(jnp.array(logits), jnp.array(labels), jnp.array(mask)) == expected


def test_all_results_are_fetched_at_the_end_in_order():
    assert metrics.fetch_at_end(jnp.float32(i) for i in range(5)) == [0, 1, 2, 3, 4]


def test_results_are_fetched_when_the_next_is_under_way():
    begun = []

    def results():
        for i in range(3):
            begun.append(i)
            yield {'images': jnp.float32(i)}

    fetched = [(float(sums['images']), len(begun)) for sums in metrics.fetch_late(results())]
    assert fetched == [(0, 2), (1, 3), (2, 3)]
