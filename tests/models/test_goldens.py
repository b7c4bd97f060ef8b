"""A whole network against an independent implementation in PyTorch, in float64."""

import ast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from snnjax import create_model
from snnjax.weights.torch_state import from_state_dict
from tests.conftest import GOLDEN


def model_of(golden):
    """The network that the golden file says it is of."""
    meta = ast.literal_eval(str(golden['meta']))
    assert meta['stem'] == (7, 2)
    return create_model(
        'ms_resnet18',
        num_steps=meta['T'],
        strict=meta['neuron']['strict'],
        detach_reset=meta['neuron']['detach'],
        num_classes=meta['classes'],
        **{key: meta[key] for key in ('blocks', 'widths', 'strides')},
    )


def arrays(golden, prefix):
    return {key.removeprefix(prefix): golden[key] for key in golden.files if key.startswith(prefix)}


def assert_close(ours, expected, atol):
    """Compares variables leaf by leaf; a failure names the leaf."""
    paths = jax.tree.leaves_with_path(ours)
    for (path, a), b in zip(paths, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))


@pytest.mark.usefixtures('x64')
def test_a_training_step_agrees_with_an_independent_implementation():
    with np.load(GOLDEN / 'imagenet_tiny_ms.npz') as golden:
        model = model_of(golden)
        before = arrays(golden, 'param/')
        variables = from_state_dict(model, before)
        images = jnp.asarray(golden['image'], jnp.float64).transpose(0, 2, 3, 1)

        def loss(params):
            logits, updates = model.apply(
                {'params': params, 'batch_stats': variables['batch_stats']},
                images,
                train=True,
                mutable=['batch_stats', 'firing_rates'],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, golden['label'])
            return jnp.mean(losses), (logits, updates)

        differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (value, (logits, updates)), gradient = differentiate(variables['params'])
        np.testing.assert_allclose(value, golden['loss'], rtol=0, atol=1e-9)
        np.testing.assert_allclose(logits, golden['train_logits'], rtol=0, atol=1e-9)
        rates = rates_in_call_order(updates['firing_rates'])
        np.testing.assert_allclose(rates, golden['firing_rate'], rtol=0, atol=1e-12)

        running = arrays(golden, 'stat_after/')
        after = from_state_dict(model, before | running)
        assert_close(updates['batch_stats'], after['batch_stats'], atol=1e-6)
        gradients = from_state_dict(model, running | arrays(golden, 'grad/'))
        assert_close(gradient, gradients['params'], atol=1e-9)

        evaluate = jax.jit(model.apply)
        np.testing.assert_allclose(
            evaluate(after, images), golden['eval_logits_after'], rtol=0, atol=1e-6
        )


def rates_in_call_order(firing_rates):
    """One number a layer; the neurons of the head, beside the stages, are the last."""
    paths = jax.tree.leaves_with_path(firing_rates)
    rates = {jax.tree_util.keystr(path, simple=True): rate for path, rate in paths}
    names = [name for name in rates if name.endswith('rate')]
    names.sort(key=lambda name: ('stage' not in name, name))
    return [jnp.mean(rates[name]) for name in names]
