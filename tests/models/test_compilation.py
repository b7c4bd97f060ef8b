import jax
import jax.numpy as jnp
import pytest

from snnjax.models import compiler_options
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
