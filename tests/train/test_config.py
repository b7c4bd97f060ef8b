import functools
import json
import math
import re

import ml_collections
import pytest

from snnjax.data import DatasetNotPreparedError
from snnjax.errors import PathError
from snnjax.train.config import (
    ConfigError,
    choose,
    default_config,
    differences,
    flatten,
    model_options,
    optional_keys,
    parse_arguments,
)
from snnjax.train.experiment import check, set_up


def test_arguments_are_read_as_the_type_of_their_default():
    args = parse_arguments('depth=32,rate=0.5,flip=true', depth=20, rate=0.1, flip=False, kind='a')
    assert args.to_dict() == {'depth': 32, 'rate': 0.5, 'flip': True, 'kind': 'a'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('dept=20', "unknown config argument 'dept'; did you mean depth?"),
        ('depth=deep', "'depth=deep': depth must be a whole number, as in depth=20"),
        ('depth', "config argument 'depth': depth must be a whole number, as in depth=20"),
        ('flip=yes', "'flip=yes': flip must be true or false, as in flip=false"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_arguments(arguments, depth=20, flip=False)


def test_a_wrong_choice_gets_the_near_ones():
    with pytest.raises(ConfigError, match="unknown recipe 'author'; did you mean authors"):
        choose('recipe', 'author', {'authors': 1, 'paper_arxiv': 2})


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('epochs', 0, 'epochs=0 must be at least 1'),
        ('seed', -1, 'seed=-1 must be at least 0'),
        ('loss', 'tte', "unknown loss 'tte'; did you mean tet"),
        ('optimizer.name', 'adan', "unknown optimizer.name 'adan'; did you mean adam"),
        ('label_smoothing', 1.0, 'label_smoothing=1.0 must be at least 0 and below 1'),
        ('optimizer.learning_rate', 0.0, 'optimizer.learning_rate=0.0 must be above 0'),
        (
            'optimizer.warmup_epochs',
            2.0,
            'optimizer.warmup_epochs=2.0 must be at least 0 and below',
        ),
        ('batch_size', 20, 'batch_size=20 must be a multiple of the 8 devices, like 16 or 24'),
        ('batch_size', 4, 'batch_size=4 must be a multiple of the 8 devices, like 8 or 16'),
        (
            'microbatches',
            3,
            'batch_size=16 must be a multiple of microbatches=3 times the 8 devices',
        ),
        ('fsdp', 3, 'fsdp=3 must be a divisor of the 8 devices'),
        ('ema_decay', 1.0, 'ema_decay=1.0 must be at least 0 and below 1'),
        (
            'eval_batch_size',
            9,
            'eval_batch_size=9 must be a multiple of the 8 devices, like 8 or 16',
        ),
        ('model.name', 'ms_resnet9', "unknown model 'ms_resnet9'"),
        ('data.name', 'digit', "unknown data set 'digit'; did you mean digits"),
        ('model.stem', 'conv8', "unknown stem 'conv8'"),
        ('model.remat', 'block', "unknown remat 'block'; did you mean blocks"),
    ],
)
def test_what_cannot_run_is_found_before_anything_is_loaded(config, key, value, message):
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(config, num_devices=8)


WRONG = {
    bool: (None, 1, 'true'),
    int: (None, '', 1.5, True, 2**31, math.nan, [1]),
    float: (None, '', True, 1e39, math.nan, math.inf, -math.inf),
    str: (None, 1, b'text', ('a',)),
    tuple: ('', 1, ('a',), (1.5,), (2**31,)),
}


@pytest.mark.parametrize('key', flatten(default_config()))
def test_no_key_takes_a_value_of_another_type_or_range(config, key):
    *outer, last = key.split('.')
    kind = config.model.get_type(last) if outer == ['model'] else type(flatten(config)[key])
    for value in WRONG[kind]:
        if (value is None and key in optional_keys(config)) or (key, value) == ('seed', 2**31):
            continue
        values = config.to_dict()
        functools.reduce(dict.__getitem__, outer, values)[last] = value
        with pytest.raises(ConfigError, match=f'^{re.escape(key)}=') as error:
            check(ml_collections.ConfigDict(values, type_safe=False), num_devices=8)
        assert '\n' not in str(error.value)


@pytest.mark.parametrize('phases', [None, 3, 'x', (1,)])
def test_earlier_phases_are_phases_by_name(config, phases):
    values = ml_collections.ConfigDict(
        config.to_dict() | {'earlier_phases': phases}, type_safe=False
    )
    with pytest.raises(ConfigError, match='must have phases by name'):
        check(values, num_devices=8)


def test_a_configuration_without_a_key_is_refused(config):
    values = config.to_dict()
    del values['optimizer']['momentum']
    with pytest.raises(ConfigError, match=r'optimizer.momentum is missing: begin with'):
        check(ml_collections.ConfigDict(values), num_devices=8)


@pytest.mark.parametrize('key', ['data.dir', 'init_from'])
def test_an_unknown_user_is_named(config, key):
    config.update_from_flattened_dict({key: '~nobody_of_this_name/data'})
    with pytest.raises(PathError, match='~nobody_of_this_name/data: there is no user'):
        check(config, num_devices=8)


def test_missing_data_is_found_before_anything_is_loaded(config, tmp_path):
    config.data.name = 'cifar10'
    config.data.dir = str(tmp_path)
    with pytest.raises(DatasetNotPreparedError):
        check(config, num_devices=8)


def test_the_model_is_made_for_its_data(config):
    model = set_up(config).model
    assert (model.num_classes, model.in_channels, model.num_steps) == (10, 1, 2)


def test_every_option_of_the_network_is_a_key(config):
    config.model.update(
        {
            'dropout': 0.3,
            'blocks': (2,),
            'remat': 'blocks',
            'dtype': 'bfloat16',
            'kind': 'plain',
        }
    )
    model = set_up(config).model
    assert (model.dropout, model.blocks, model.remat) == (0.3, (2,), 'blocks')
    assert (model.dtype, model.kind, model.threshold) == ('bfloat16', 'plain', 0.5)


@pytest.mark.parametrize(('word', 'value'), [('true', True), ('false', False), ('auto', 'auto')])
def test_scan_layers_is_a_word(config, word, value):
    config.model.scan_layers = word
    assert set_up(config).model.scan_layers == value


def test_keys_are_flattened_with_dots():
    assert flatten({'a': 1, 'b': {'c': {'d': 2}}}) == {'a': 1, 'b.c.d': 2}


def test_differences_leave_out_what_changes_no_result():
    old, new = default_config(), default_config()
    new.data.dir = '/elsewhere'
    new.log_every = 7
    new.checkpoint.keep = 9
    assert differences(old, new) == []
    old.earlier_phases = {'first': {'epochs': 3, 'data': {'dir': '/somewhere'}}}
    new.earlier_phases = {'first': {'epochs': 3, 'data': {'dir': '/elsewhere'}}}
    assert differences(old, new) == []
    new.optimizer.momentum = 0.5
    with new.unlocked():
        new.extra = 1
    stored = json.loads(old.to_json())
    assert differences(stored, new) == ['extra: (absent) -> 1', 'optimizer.momentum: 0.9 -> 0.5']


def test_a_key_that_an_older_run_had_not_is_at_its_default():
    old, new = default_config().to_dict(), default_config()
    del old['ema_decay']
    assert differences(old, new) == []
    new.ema_decay = 0.5
    assert differences(old, new) == ['ema_decay: 0.0 -> 0.5']


@pytest.mark.parametrize('locked', [True, False])
def test_options_of_the_model_that_are_not_given_are_none(locked):
    config = default_config()
    config.model.activation_options = {'levels': 4}
    if locked:
        config.lock()
    expected = {'num_steps': 4, 'activation_options': {'levels': 4}}
    assert model_options(config) == ('ms_resnet20', expected)
