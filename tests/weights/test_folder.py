import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.errors import PathError, WeightsError
from snnjax.models.params import forward_order, stack_layers
from snnjax.weights import folder as module
from snnjax.weights.fit import fit_weights
from snnjax.weights.folder import (
    describe_weights,
    load_weights,
    open_weights,
    save_safetensors,
    save_weights,
    trained_otherwise,
)

OPTIONS = {'blocks': (1, 3, 1), 'widths': (2, 3, 4), 'num_classes': 5}


def random_variables(**options):
    model = create_model('ms_resnet20', **OPTIONS | options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    rng = np.random.default_rng(0)
    return model, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


@pytest.mark.parametrize('scanned', [False, True])
def test_comes_back_as_it_was_written(tmp_path, scanned):
    model, variables = random_variables(scan_layers=scanned)
    save_weights(tmp_path / 'w', variables, 'ms_resnet20', OPTIONS)
    fitted, kept = fit_weights(model, variables, load_weights(tmp_path / 'w'))
    chex.assert_trees_all_equal(fitted, variables)
    assert kept == []
    name, options = describe_weights(tmp_path / 'w')
    assert create_model(name, **options) == create_model('ms_resnet20', **OPTIONS)


def test_fits_either_form_of_repeated_layers(tmp_path):
    model, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    scanned = model.clone(scan_layers=True)
    stacked = stack_layers(variables)
    fitted, _ = fit_weights(scanned, stacked, load_weights(tmp_path))
    chex.assert_trees_all_equal(fitted, stacked)


def test_does_not_write_over_weights(tmp_path):
    _, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    with pytest.raises(WeightsError, match='has weights already'):
        save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)


def test_says_where_there_are_no_weights(tmp_path):
    (tmp_path / 'model.json').write_text('{}')  # Of a run that has not saved yet.
    with pytest.raises(WeightsError, match=r'has no weights: model\.json and'):
        load_weights(tmp_path)


def test_names_everything_that_does_not_fit(tmp_path):
    _, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    model, like = random_variables(blocks=(2, 2, 1), num_classes=6)
    with pytest.raises(WeightsError) as raised:
        fit_weights(model, like, load_weights(tmp_path))
    message = str(raised.value)
    assert 'missing: params/stage1/block2/conv1/conv/kernel' in message
    assert 'unexpected: batch_stats/stage2/block3/conv2/norm/mean' in message
    assert 'params/classifier/bias: shape (5,), expected (6,)' in message


def test_a_classifier_of_other_classes_may_start_anew(tmp_path):
    _, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    model, like = random_variables(num_classes=6)
    fitted, kept = fit_weights(model, like, load_weights(tmp_path), reset_head=True)
    assert kept == ['params/classifier/bias', 'params/classifier/kernel']
    chex.assert_trees_all_equal(fitted['params']['classifier'], like['params']['classifier'])
    chex.assert_trees_all_equal(fitted['params']['stem'], variables['params']['stem'])


def test_the_description_is_json_that_people_can_read(tmp_path):
    _, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    description = json.loads((tmp_path / 'model.json').read_text())
    assert description == {
        'name': 'ms_resnet20',
        'options': {'blocks': [1, 3, 1], 'widths': [2, 3, 4], 'num_classes': 5},
    }


def test_safetensors_are_weights_too(tmp_path):
    model, variables = random_variables()
    save_safetensors(tmp_path, variables, 'ms_resnet20', OPTIONS, {'licence': 'MIT'})
    fitted, _ = fit_weights(model, variables, load_weights(tmp_path))
    chex.assert_trees_all_equal(fitted, variables)
    opened, variables = open_weights(tmp_path, num_steps=3)
    assert opened == model.clone(num_steps=3)
    chex.assert_trees_all_equal(variables, fitted)


@pytest.mark.parametrize('save', [save_weights, save_safetensors])
def test_weights_of_a_network_for_images_of_one_size_are_opened(tmp_path, save):
    options = {'channels': (2, 3), 'pools': (2, 3), 'hidden': (4,), 'num_steps': 5}
    model = create_model('plif_nmnist', **options)
    images = jnp.zeros((1, 5, 20, 13, 2))
    variables = dict(jax.jit(model.init)(jax.random.key(0), images))
    description = [{}] if save is save_safetensors else []
    save(tmp_path / 'w', variables, 'plif_nmnist', options, *description)
    opened, read = open_weights(tmp_path / 'w')
    assert opened == model
    # Its learnable decays are numbers without an axis.
    chex.assert_trees_all_equal(read, variables)


def test_damaged_safetensors_are_no_weights(tmp_path):
    (tmp_path / 'model.json').write_text('{"name": "ms_resnet20", "options": {}}')
    (tmp_path / 'variables.safetensors').write_bytes(b'12345')
    with pytest.raises(WeightsError, match=r'variables\.safetensors cannot be read as variables'):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', r'model\.json is not JSON'),
        ('[]', r'model\.json does not describe a model'),
        ('{"name": 1, "options": {}}', r'model\.json does not describe a model'),
        ('{"name": "ms_resnet9", "options": {}}', 'the nearest are ms_resnet8'),
        ('{"name": "ms_resnet8", "options": {"depth": 3}}', "has no option 'depth'"),
        ('{"name": "ms_resnet8", "options": {"widths": 3}}', 'widths=3 must be whole numbers'),
        ('{"name": "ms_resnet8", "options": {"widths": [[8], 8, 8]}}', 'must be whole numbers'),
        ('{"name": "ms_resnet8", "options": {"num_steps": 1.5}}', 'num_steps=1.5 must be a whole'),
        ('{"name": "ms_resnet8", "options": {"strict": "no"}}', 'strict=no must be true or false'),
        ('{"name": "ms_resnet8", "options": {"decay": [0.5]}}', 'must be a number'),
        ('{"name": "ms_resnet8", "options": {"kind": 3}}', 'kind=3 must be text'),
        ('[' * 100_000, r'model\.json is not JSON'),
        ('', r'model\.json is not JSON'),
        ('{"name": "ms_resnet8", "options": {"num_steps": ' + '9' * 5000 + '}}', 'is not JSON'),
    ],
    ids=range(14),
)
def test_a_description_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / 'model.json').write_text(text)
    (tmp_path / 'variables.safetensors').write_bytes(b'')
    with pytest.raises(WeightsError, match=message):
        open_weights(tmp_path)


def zeros(shape, dtype=jnp.float32):
    """An array that takes next to nothing on the disk."""
    return jnp.zeros(shape, dtype)


@pytest.mark.parametrize(
    ('name', 'array', 'message'),
    [
        ('kernel', zeros((4, 50_000)), r'kernel: shape \(4, 50000\), expected \(4, 5\)'),
        ('kernel', zeros((4, 8_000_000)), 'bytes of files: these cannot be trained weights'),
        ('kernel', zeros((4, 5), jnp.int32), 'kernel is int32, expected a floating type'),
        ('kernel', zeros((4, 5), jnp.complex64), 'kernel is complex64, expected a floating type'),
        ('extra', zeros((3,)), 'unexpected: params/classifier/extra'),
    ],
    ids=range(5),
)
def test_arrays_of_another_model_are_not_made(tmp_path, monkeypatch, name, array, message):
    _, variables = random_variables()
    variables['params']['classifier'][name] = array
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    monkeypatch.setattr(module, '_restore_arrays', None)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path)


def test_a_folder_of_weights_has_no_other_checkpoint(tmp_path):
    _, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS)
    with pytest.raises(WeightsError, match="is a folder of weights and has no checkpoint 'best'"):
        load_weights(tmp_path, 'best')


@pytest.mark.parametrize('name', ['lr[0.1]', 'a*b?{c}', 'two words\n', '50%', 'ä…'])
@pytest.mark.parametrize('save', [save_weights, save_safetensors])
def test_a_folder_of_weights_may_have_any_name(tmp_path, name, save):
    _, variables = random_variables()
    save(tmp_path / name, variables, 'ms_resnet20', OPTIONS, *[{}] * (save is save_safetensors))
    chex.assert_trees_all_equal(load_weights(tmp_path / name), variables)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_that_weights_cannot_have_are_refused(tmp_path):
    with pytest.raises(WeightsError, match='has a backslash in its path'):
        save_weights(tmp_path / 'a\\b', {}, 'ms_resnet20', OPTIONS)
    with pytest.raises(WeightsError, match='cannot be read: File name too long'):
        load_weights(tmp_path / ('x' * 300))
    with pytest.raises(PathError, match='~nobody_of_this_name'):
        load_weights('~nobody_of_this_name/weights')


def test_options_that_weights_were_trained_with_otherwise_are_listed(tmp_path):
    _, variables = random_variables()
    save_weights(tmp_path, variables, 'ms_resnet20', OPTIONS | {'decay': 0.5, 'num_steps': 1})
    same = create_model('ms_resnet20', **OPTIONS, decay=0.5, num_steps=1, scan_layers=True)
    assert trained_otherwise(tmp_path, same) == []
    other = create_model('ms_resnet20', **OPTIONS, threshold=1.0, num_steps=1, dtype='bfloat16')
    assert trained_otherwise(tmp_path, other) == [
        'they were trained with decay=0.5, threshold=0.5, dtype=float32; '
        'this run has decay=0.25, threshold=1.0, dtype=bfloat16'
    ]


@pytest.mark.parametrize(
    'layers',
    [
        ['stem', 'stage1/block2', 'stage1/block10', 'stage2/block1', 'dense1', 'classifier'],
        [
            'conv1',
            'attention1',
            'spike1',
            'conv2',
            'dense1',
            'dense_norm1',
            'dense_spike1',
            'dense2',
        ],
    ],
)
def test_layers_are_listed_as_they_run(layers):
    assert sorted(sorted(layers), key=forward_order) == layers
    assert sorted(layers) != layers
