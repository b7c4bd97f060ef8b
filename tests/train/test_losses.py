import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.train.losses import LOSSES

LOGITS = np.array([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]])
TARGETS = np.array([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])


def cross_entropy(logits, targets):
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return -(targets * np.log(probabilities)).sum(-1)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('cross_entropy', cross_entropy(LOGITS.mean(1), TARGETS)),
        ('mse', ((LOGITS.mean(1) - TARGETS) ** 2).mean(-1)),
        ('tet', (cross_entropy(LOGITS[:, 0], TARGETS) + cross_entropy(LOGITS[:, 1], TARGETS)) / 2),
    ],
)
def test_a_loss_is_what_its_equation_says(name, expected):
    loss = LOSSES[name]
    logits = jnp.asarray(LOGITS if loss.steps else LOGITS.mean(1))
    np.testing.assert_allclose(loss.of(logits, jnp.asarray(TARGETS)), expected, rtol=1e-5)


def test_steps_that_agree_lose_what_their_mean_does():
    logits = jnp.asarray(LOGITS[:, :1]).repeat(4, axis=1)
    of_steps = LOSSES['tet'].of(logits, jnp.asarray(TARGETS))
    of_mean = LOSSES['cross_entropy'].of(logits.mean(1), jnp.asarray(TARGETS))
    np.testing.assert_allclose(of_steps, of_mean, rtol=1e-6)
