import json
import random

import chex
import numpy as np
import pytest
import safetensors.numpy

from snnjax import create_model
from snnjax.models.params import stack_layers
from snnjax.weights.safetensors import MAX_HEADER_BYTES, read_safetensors, write_safetensors
from tests.weight_files import firing_variables


@pytest.fixture(scope='module')
def variables():
    model = create_model('ms_resnet20', blocks=(1, 3, 1), widths=(2, 3, 4))
    return firing_variables(model, 8)


@pytest.mark.parametrize('convert', [dict, stack_layers])
def test_comes_back_as_it_was_written_with_layers_one_by_one(convert, variables, tmp_path):
    write_safetensors(tmp_path / 'v', convert(variables), {})
    chex.assert_trees_all_equal(read_safetensors(tmp_path / 'v'), variables)


def test_others_find_arrays_by_their_names_and_the_metadata(variables, tmp_path):
    write_safetensors(tmp_path / 'v', variables, {'model': '{"name": "x"}'})
    arrays = safetensors.numpy.load_file(tmp_path / 'v')
    kernel = variables['params']['stage2']['block3']['conv1']['conv']['kernel']
    np.testing.assert_array_equal(arrays['params/stage2/block3/conv1/conv/kernel'], kernel)
    assert {array.dtype for array in arrays.values()} == {np.dtype('float32')}
    with safetensors.safe_open(tmp_path / 'v', 'numpy') as file:
        assert file.metadata() == {'model': '{"name": "x"}'}


def test_a_file_with_a_changed_byte_is_refused_or_read_whole(variables, tmp_path):
    write_safetensors(tmp_path / 'v', variables, {})
    content = (tmp_path / 'v').read_bytes()
    header = 8 + int.from_bytes(content[:8], 'little')
    rng, refused = random.Random(0), 0
    for number in range(300):
        # Most of them in the header; the others, of numbers, cannot be told.
        place = rng.randrange(header if number % 3 else len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        (tmp_path / 'v').write_bytes(changed if number % 4 else changed[:place])
        try:
            read = read_safetensors(tmp_path / 'v')
        except ValueError as error:
            refused += 1
            assert 'v cannot be read' in str(error)  # noqa: PT017  Not all are refused.
        else:
            assert read.keys() == variables.keys()
    assert refused > 100


def encode(header, data=b''):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + data


def array(**changes):
    return {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]} | changes


def with_array(entry, data=bytes(8)):
    second = array(data_offsets=[4, 8])
    return encode({'params/a': entry, 'batch_stats/a': second}, data)


def test_what_is_damaged_below_is_read_when_it_is_not(tmp_path):
    (tmp_path / 'v').write_bytes(with_array(array()))
    chex.assert_trees_all_equal(
        read_safetensors(tmp_path / 'v'),
        {'params': {'a': np.zeros(1, 'f4')}, 'batch_stats': {'a': np.zeros(1, 'f4')}},
    )


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'it has 0 bytes'),
        (b'\xff' * 8, 'its header should have 18,446,744,073,709,551,615 bytes'),
        ((100).to_bytes(8, 'little') + b'{}', 'its header should have 100 bytes'),
        (encode(bytes(MAX_HEADER_BYTES + 1)), 'its header should have 16,777,217 bytes'),
        (encode(b'\x80'), 'its header is not JSON'),
        (encode(b'[' * 100_000), 'its header is not JSON'),
        (encode([]), 'its header is not a JSON object'),
        (encode({}), 'its arrays are not those of params and batch_stats'),
        (encode({'weight': array()}, bytes(4)), 'its arrays are not those of'),
        (
            encode({'params/a': array(), 'params/a/b': array(), 'batch_stats/a': array()}),
            "'params/a' is both an array and a group",
        ),
        (with_array([]), "'params/a' is not an array with dtype"),
        (with_array(array(shape=[-1])), "'params/a' is not an array with dtype"),
        (with_array(array(dtype='I64')), "'params/a' has dtype I64, expected one of F16, F32, F64"),
        (with_array(array(data_offsets=[0, 400])), "'params/a' has the offsets 0 to 400 in 8"),
        (with_array(array(data_offsets=[-4, 0])), "'params/a' has the offsets -4 to 0"),
        (with_array(array(shape=[2])), "'params/a' has 4 bytes, not those of F32"),
        # What the library sees by itself.
        (with_array(array(data_offsets=[4, 8])), 'cannot be read as variables'),
        (with_array(array(), bytes(9)), 'cannot be read as variables'),
    ],
    ids=range(18),
)
def test_what_is_damaged_is_refused_with_the_name_of_the_file(content, message, tmp_path):
    path = tmp_path / 'variables.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'variables\.safetensors cannot be read') as raised:
        read_safetensors(path)
    assert message in str(raised.value)
