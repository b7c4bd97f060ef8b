"""Every config file describes a run that could begin, if its data were there."""

import inspect
import re
import runpy

import pytest

from snnjax.data import DataOptions
from snnjax.data.datasets import READY
from snnjax.models import create_model
from snnjax.train.config import OPEN_KEYS, default_config, flatten, phase_configs
from snnjax.train.config_file import call_config_file
from snnjax.train.experiment import check
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
# What stands behind the colon, beside nothing.
ARGUMENTS = {
    'depth_analysis': ['family=plain_net,depth=44,seed=1,setting=cpu'],
    'cifar10': [
        'depth=110,recipe=paper_arxiv',
        'family=vanilla_resnet,depth=8',
        'num_steps=6,pretrain_epochs=200',
    ],
    'compare': [
        'network=efficientnet,setting=table3',
        'network=vgg,setting=table3_cpu',
    ],
    'cifar10_dvs': ['split=random:1,num_steps=10'],
    'imagenet': [
        f'depth={depth},recipe={recipe},phase={phase}'
        for depth in (18, 34, 104)
        for recipe in ('paper_arxiv', 'authors')
        for phase in ('single', 'pretrain', 'finetune', 'both')
    ],
    'imagenette': ['name=flowers,split=by_order,image_size=64'],
    'relu_cifar10': ['model=vgg16_cifar,activation=qcfs,levels=8', 'model=sengupta_vgg16'],
    'events_folder': ['name=gestures,split=random:0'],
}
CASES = [(path, '') for path in CONFIGS] + [
    (ROOT / 'configs' / f'{name}.py', arguments)
    for name, cases in ARGUMENTS.items()
    for arguments in cases
]


def get_config(path, arguments=''):
    return call_config_file(path, 'get_config', arguments)


@pytest.mark.parametrize(('path', 'arguments'), CASES, ids=lambda x: getattr(x, 'stem', x))
def test_a_config_has_known_keys_and_a_model(path, arguments):
    config = get_config(path, arguments)
    for phase in phase_configs(config).values():
        keys = {key for key in flatten(phase) if not key.startswith(OPEN_KEYS)}
        assert keys == flatten(default_config()).keys()
        DataOptions(**phase.data)
        model = create_model(phase.model.name, num_steps=phase.model.num_steps)
        assert model.num_steps == phase.model.num_steps


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_docstrings_give_the_command_and_the_arguments(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)
    module = runpy.run_path(str(path))
    assert f'python -m snnjax.main --config=configs/{path.name}' in module['__doc__']
    described = re.findall(r'^      (\w+): ', module['get_config'].__doc__, re.MULTILINE)
    assert described == list(inspect.signature(module['get_config']).parameters)


@pytest.mark.parametrize('name', READY)
def test_a_config_without_a_download_can_begin(name):
    check(get_config(ROOT / 'configs' / f'{name}.py'), num_devices=1)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('cifar10', 'small images'),
        ('imagenet', 'photos'),
        ('imagenette', 'photos'),
        ('nmnist', 'events'),
        ('cifar10_dvs', 'events'),
        ('dvs_gesture', 'events'),
        ('events_folder', 'events'),
    ],
)
def test_the_options_have_a_meaning_for_the_data(name, kind):
    DataOptions(**get_config(ROOT / 'configs' / f'{name}.py').data).require_meaning(kind)


def test_recipes_of_imagenet_are_those_of_the_paper():
    path = ROOT / 'configs' / 'imagenet.py'
    plain = get_config(path, 'depth=34,recipe=paper_arxiv')
    assert (plain.data.auto_augment, plain.data.flip, plain.label_smoothing) == ('', True, 0.0)
    assert (plain.optimizer.weight_decay, plain.epochs, plain.model.num_steps) == (1e-4, 125, 6)
    strong = get_config(path, 'depth=104,recipe=paper_arxiv,phase=finetune,batch_size=512')
    assert (strong.data.auto_augment, strong.data.flip) == ('imagenet', True)
    assert (strong.label_smoothing, strong.optimizer.weight_decay) == (0.1, 1e-5)
    assert (strong.optimizer.learning_rate, strong.epochs, strong.model.num_steps) == (0.1, 100, 6)
    authors = get_config(path, 'depth=18')
    assert (authors.data.auto_augment, authors.data.flip) == ('imagenet', False)
    assert DataOptions(**authors.data).eval_shape == (224, 256)


def test_both_phases_of_imagenet_are_those_of_two_commands():
    path = ROOT / 'configs' / 'imagenet.py'
    both = phase_configs(get_config(path, 'depth=104,phase=both,batch_size=512'))
    for phase, name in (('pretrain', 'pretrain'), ('', 'finetune')):
        alone = get_config(path, f'depth=104,phase={name},batch_size=512')
        assert both[phase].to_dict() == alone.to_dict()
