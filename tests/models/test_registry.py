import jax
import jax.numpy as jnp
import pytest

from snnjax import create_model, list_models


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [
        ('ms_resnet20', 272_474),
        ('ms_resnet32', 466_906),
        ('ms_resnet44', 661_338),
        ('ms_resnet56', 855_770),
        ('ms_resnet110', 1_730_714),
    ],
)
def test_has_the_parameters_that_the_tables_give(name, parameters):
    model = create_model(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params'])) == parameters


def test_lists_the_networks_of_the_paper():
    assert list_models('ms_resnet?') == ['ms_resnet8']
    assert 'ms_resnet482' in list_models()
    for name in list_models():
        assert create_model(name).num_classes == 10


def test_takes_every_cifar_depth():
    assert create_model('ms_resnet26').blocks == (4, 4, 4)


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('ms_restnet20', 'did you mean .*ms_resnet20'),
        ('transformer', 'known are .*ms_resnet20'),
        ('ms_resnet21', 'the nearest are ms_resnet20 and ms_resnet26'),
        ('ms_resnet2', 'the nearest are ms_resnet8 and ms_resnet14'),
    ],
)
def test_an_unknown_name_gets_the_near_ones(name, hint):
    with pytest.raises(ValueError, match=hint):
        create_model(name)


def test_an_unknown_option_gets_the_near_ones():
    with pytest.raises(TypeError, match="no option 'num_step'; did you mean num_steps"):
        create_model('ms_resnet20', num_step=4)
