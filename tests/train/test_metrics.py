import jax.numpy as jnp
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


def test_results_are_fetched_when_the_next_is_under_way():
    begun = []

    def results():
        for i in range(3):
            begun.append(i)
            yield {'images': jnp.float32(i)}

    fetched = [(float(sums['images']), len(begun)) for sums in metrics.fetch_late(results())]
    assert fetched == [(0, 2), (1, 3), (2, 3)]
