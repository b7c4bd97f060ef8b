import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from snnjax.export.stablehlo import PLATFORMS, read_inference, write_inference

pytest.importorskip('flatbuffers', reason="needs flatbuffers: pip install 'snnjax[export]'")


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    weight = jnp.arange(6.0).reshape(3, 2)
    path = tmp_path_factory.mktemp('program') / 'program'
    write_inference(path, lambda pixels: jnp.mean(pixels, axis=(1, 2)) @ weight, (4, 4, 3))
    return path


@pytest.mark.parametrize('count', [1, 5])
def test_what_is_read_takes_batches_of_any_size(path, count):
    pixels = np.full((count, 4, 4, 3), 2, np.uint8)
    np.testing.assert_allclose(read_inference(path)(pixels), np.tile([12.0, 18.0], (count, 1)))


def test_the_program_is_for_all_platforms(path):
    exported = export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == PLATFORMS
    assert exported.in_avals[0].dtype == jnp.uint8
