import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.params import stack_layers, unstack_layers


@pytest.mark.parametrize('name', ['ms_resnet8', 'ms_resnet14', 'vanilla_resnet20', 'ms_resnet34'])
def test_there_and_back_is_the_identity(name):
    model = create_model(name, widths=(4, 4, 4, 4)[: 4 if name.endswith('34') else 3])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)
    stacked = stack_layers(variables)
    chex.assert_trees_all_equal(unstack_layers(stacked), variables)
    assert 'repeated' not in str(jax.tree.structure(unstack_layers(stacked)))
    scanned = model.clone(scan_layers=True)
    expected = jax.eval_shape(scanned.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    chex.assert_trees_all_equal_shapes_and_dtypes(stacked, expected)


def test_blocks_are_stacked_in_their_order():
    tree = {f'block{i}': {'x': np.array([i])} for i in range(1, 13)}
    stacked = stack_layers(tree)
    assert set(stacked) == {'block1', 'repeated'}
    np.testing.assert_array_equal(stacked['repeated']['x'].ravel(), np.arange(2, 13))
