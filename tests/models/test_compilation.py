import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax.models import compiler_options, create_model
from snnjax.models.compilation import drawing_options
from snnjax.models.convolution import Conv


def compiled_convolution(options):
    model = Conv(32, 3)
    images = jnp.zeros((8, 1, 16, 16, 32))
    variables = model.init(jax.random.key(0), images)
    return jax.jit(model.apply, compiler_options=options).lower(variables, images).compile()


def test_convolutions_on_cpus_are_not_those_of_ynnpack():
    program = compiled_convolution(compiler_options('cpu')).as_text()
    assert ' convolution(' in program
    # Without them they would be.
    assert 'ynn_fusion' in compiled_convolution({}).as_text()
    assert 'ynn_fusion' not in program


@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_there_is_nothing_to_choose_elsewhere(platform):
    assert compiler_options(platform) == {}


def test_numbers_drawn_at_a_lower_level_of_optimization_are_the_same_bits():
    def draw(key):
        return jax.random.normal(key, (64, 3)), jax.random.rademacher(key, (64,), jnp.float32)

    key = jax.random.key(0)
    usual = jax.jit(draw, compiler_options={'xla_backend_optimization_level': 3})(key)
    quick = jax.jit(draw, compiler_options=drawing_options('cpu'))(key)
    for a, b in zip(usual, quick, strict=True):
        np.testing.assert_array_equal(a, b)
    assert drawing_options('tpu') == {}


def test_initial_parameters_at_a_lower_level_of_optimization_are_the_same_bits():
    model = create_model('ms_resnet8', blocks=(1,), widths=(8,), strides=(1,))
    usual, quick = (
        jax.jit(lambda key: model.init(key, jnp.zeros((1, 8, 8, 3))), compiler_options=options)(
            jax.random.key(0)
        )
        for options in ({'xla_backend_optimization_level': 3}, drawing_options('cpu'))
    )
    jax.tree.map(np.testing.assert_array_equal, usual, quick)
