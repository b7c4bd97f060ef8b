import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from snnjax import create_model
from snnjax.models.params import stack_layers, unstack_layers
from snnjax.weights.torch_names import torch_name
from snnjax.weights.torch_state import from_state_dict, to_state_dict

SMALL = {'blocks': (1, 2, 4, 1), 'widths': (4, 5, 6, 7), 'num_classes': 3}


def random_variables(model):
    """Variables, no two alike, without the cost of initializing them."""
    image = jnp.zeros((1, 64, 64, model.in_channels))
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
        {key: shapes[key] for key in ('params', 'batch_stats')},
    )


@pytest.fixture(scope='module')
def state_dict():
    model = create_model('ms_resnet8')
    return to_state_dict(model, random_variables(model))


def test_layouts_are_those_of_pytorch(state_dict):
    variables = from_state_dict(create_model('ms_resnet8'), state_dict)
    params = variables['params']
    kernel = params['stage2']['block1']['shortcut']['conv']['kernel']
    assert state_dict['blocks.1.sc.conv.weight'].shape == (32, 16, 1, 1)
    np.testing.assert_array_equal(
        kernel, state_dict['blocks.1.sc.conv.weight'].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(params['classifier']['kernel'], state_dict['fc.weight'].T)
    np.testing.assert_array_equal(
        variables['batch_stats']['stage3']['block1']['conv2']['norm']['var'],
        state_dict['blocks.2.c2.bn.running_var'],
    )


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('ms_resnet20', {}),
        ('ms_resnet20_dvs', {}),
        ('ms_resnet20', {'scan_layers': True}),
        ('ms_resnet8', {'learnable_decay': True, 'learnable_threshold': True}),
        ('ms_resnet8', {'spiking_shortcut': True, 'learnable_decay': True}),
        ('vanilla_resnet20', {}),
        ('plain_net20', {}),
        ('wo_lif_resnet20', {}),
        ('lif_before_add_resnet20', {}),
        ('ann_resnet20', {}),
        ('ms_resnet18', SMALL),
        ('ms_resnet104', SMALL),
        ('sew_resnet50', SMALL),
        ('tdbn_resnet19', {'blocks': (1, 1, 1), 'widths': (4, 5, 6), 'hidden': (8, 7)}),
    ],
)
def test_there_and_back_is_the_identity(name, options):
    model = create_model(name, **options)
    variables = random_variables(model)
    state_dict = to_state_dict(model, variables)
    assert len(state_dict) == len(jax.tree.leaves(unstack_layers(variables)))
    chex.assert_trees_all_equal(from_state_dict(model, state_dict), variables)


class StateDict(dict):
    """Arrays by name, no two alike, as a PyTorch model's modules would add them."""

    def __init__(self):
        self._rng = np.random.default_rng(1)

    def add(self, name, *shape):
        self[name] = self._rng.normal(size=shape).astype(np.float32)

    def conv(self, name, out, inputs, size):
        self.add(f'{name}.weight', out, inputs, size, size)

    def norm(self, name, channels):
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            self.add(f'{name}.{leaf}', channels)
        self[f'{name}.num_batches_tracked'] = np.array(7)

    def linear(self, name, out, inputs):
        self.add(f'{name}.weight', out, inputs)
        self.add(f'{name}.bias', out)

    def used(self):
        return {k: a for k, a in self.items() if not k.endswith('num_batches_tracked')}


def authors_state_dict(blocks, widths, num_classes, *, triple_stem=False, pool=False):
    """What the authors' model of these sizes would save, written down from its modules' order."""
    arrays = StateDict()
    if triple_stem:
        for i, inputs in enumerate((3, widths[0], widths[0])):
            arrays.conv(f'conv1.{i}', widths[0], inputs, 3)
            arrays.add(f'conv1.{i}.bias', widths[0])
        arrays.norm('conv1.3.bn', widths[0])
    else:
        arrays.conv('conv1.0', widths[0], 3, 7)
        arrays.norm('conv1.1.bn', widths[0])
    inputs = widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=2):
        for block in range(count):
            name = f'conv{stage}_x.{block}'
            arrays.conv(f'{name}.residual_function.1', width, inputs, 3)
            arrays.norm(f'{name}.residual_function.2.bn', width)
            arrays.conv(f'{name}.residual_function.4', width, width, 3)
            arrays.norm(f'{name}.residual_function.5.bn', width)
            if block == 0:
                arrays.conv(f'{name}.shortcut.{int(pool)}', width, inputs, 1)
                arrays.norm(f'{name}.shortcut.{int(pool) + 1}.bn', width)
            inputs = width
    arrays.linear('fc', num_classes, inputs)
    return arrays


def sew_state_dict(blocks, widths, num_classes, *, containers, bottleneck=False):
    """What a SEW-ResNet of these sizes would save: the authors' with containers, or SpikingJelly's.

    Like torchvision's, its first stage has a shortcut to project in bottlenecks only.
    """
    arrays = StateDict()
    inputs = widths[0]
    arrays.conv('conv1', inputs, 3, 7)
    arrays.norm('bn1', inputs)
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        for block in range(count):
            name = f'layer{stage}.{block}'
            convolutions = [(width, inputs, 3), (width, width, 3)]
            if bottleneck:
                convolutions = [(width, inputs, 1), (width, width, 3), (4 * width, width, 1)]
            for i, shape in enumerate(convolutions, start=1):
                arrays.conv(f'{name}.conv{i}.0' if containers else f'{name}.conv{i}', *shape)
                arrays.norm(f'{name}.conv{i}.1' if containers else f'{name}.bn{i}', shape[0])
            outputs = convolutions[-1][0]
            if block == 0 and (stage > 1 or bottleneck):
                shortcut = f'{name}.downsample.0' if containers else f'{name}.downsample'
                arrays.conv(f'{shortcut}.0', outputs, inputs, 1)
                arrays.norm(f'{shortcut}.1', outputs)
            inputs = outputs
    arrays.linear('fc', num_classes, inputs)
    return arrays


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize(
    ('name', 'blocks', 'parts'),
    [
        ('ms_resnet18', (2, 2, 2, 2), {}),
        ('ms_resnet34', (3, 4, 6, 3), {}),
        ('ms_resnet104', (3, 8, 32, 8), {'triple_stem': True, 'pool': True}),
    ],
)
def test_loads_what_the_authors_publish(name, blocks, parts, prefix):
    # Narrower than theirs; the names are the same.
    published = authors_state_dict(blocks, (4, 5, 6, 7), 3, **parts)
    model = create_model(name, widths=(4, 5, 6, 7), num_classes=3, strict=True)
    variables = from_state_dict(model, {prefix + key: a for key, a in published.items()})
    block = variables['params']['stage2']['block2']
    np.testing.assert_array_equal(
        block['conv2']['conv']['kernel'],
        published['conv3_x.1.residual_function.4.weight'].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(
        block['conv1']['norm']['scale'], published['conv3_x.1.residual_function.2.bn.weight']
    )
    back = to_state_dict(model, variables, 'authors')
    chex.assert_trees_all_equal(back, published.used())


# Where weights belong: by the names of the authors' containers, by SpikingJelly's, and here.
SEW_PLACES = [
    ('conv1.weight', 'conv1.weight', 'params/stem/conv/kernel'),
    ('bn1.running_var', 'bn1.running_var', 'batch_stats/stem/norm/var'),
    ('layer1.0.conv1.0.weight', 'layer1.0.conv1.weight', 'params/stage1/block1/conv1/conv/kernel'),
    ('layer2.1.conv2.1.weight', 'layer2.1.bn2.weight', 'params/stage2/block2/conv2/norm/scale'),
    ('layer4.0.conv1.1.bias', 'layer4.0.bn1.bias', 'params/stage4/block1/conv1/norm/bias'),
    (
        'layer2.0.downsample.0.0.weight',
        'layer2.0.downsample.0.weight',
        'params/stage2/block1/shortcut/conv/kernel',
    ),
    (
        'layer3.0.downsample.0.1.running_mean',
        'layer3.0.downsample.1.running_mean',
        'batch_stats/stage3/block1/shortcut/norm/mean',
    ),
    ('fc.weight', 'fc.weight', 'params/classifier/kernel'),
    ('fc.bias', 'fc.bias', 'params/classifier/bias'),
]
SEW_BOTTLENECK_PLACES = [
    ('layer2.1.conv3.0.weight', 'layer2.1.conv3.weight', 'params/stage2/block2/conv3/conv/kernel'),
    ('layer2.1.conv3.1.weight', 'layer2.1.bn3.weight', 'params/stage2/block2/conv3/norm/scale'),
    (
        'layer1.0.downsample.0.0.weight',
        'layer1.0.downsample.0.weight',
        'params/stage1/block1/shortcut/conv/kernel',
    ),
]


@pytest.mark.parametrize(
    ('scheme', 'wrap'),
    [
        ('spikingjelly', lambda name: name),
        ('spikingjelly', lambda name: f'module.{name}'),
        ('sew_authors', lambda name: name),
        # As containers have it that keep what they hold in one module.
        ('sew_authors', lambda name: re.sub(r'(conv\d|downsample\.0)(?=\.\d)', r'\1.module', name)),
    ],
    ids=['flat', 'parallel', 'containers', 'containers-of-modules'],
)
@pytest.mark.parametrize('name', ['sew_resnet18', 'sew_resnet50'])
def test_loads_sew_resnets(name, scheme, wrap):
    bottleneck, containers = name == 'sew_resnet50', scheme == 'sew_authors'
    saved = sew_state_dict(**SMALL, containers=containers, bottleneck=bottleneck)
    model = create_model(name, kind='sew_iand', **SMALL)
    variables = from_state_dict(model, {wrap(key): a for key, a in saved.items()})
    leaves = traverse_util.flatten_dict(variables, sep='/')
    places = SEW_PLACES + (SEW_BOTTLENECK_PLACES if bottleneck else [])
    for contained, flat, path in places:
        array = saved[contained if containers else flat]
        np.testing.assert_array_equal(
            leaves[path], array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T, path
        )
    chex.assert_trees_all_equal(to_state_dict(model, variables, scheme), saved.used())


def test_a_scanned_model_gets_stacked_variables(state_dict):
    published = authors_state_dict((3, 4, 6, 3), (4, 5, 6, 7), 3)
    plain = create_model('ms_resnet34', widths=(4, 5, 6, 7), num_classes=3)
    scanned = plain.clone(scan_layers=True)
    chex.assert_trees_all_equal(
        from_state_dict(scanned, published), stack_layers(from_state_dict(plain, published))
    )


def test_names_everything_that_does_not_fit(state_dict):
    wrong = dict(state_dict)
    del wrong['stem.bn.bias']
    wrong['head.weight'] = wrong['fc.weight']
    wrong['fc.weight'] = wrong['fc.weight'][:7]
    with pytest.raises(ValueError, match='do not fit') as raised:
        from_state_dict(create_model('ms_resnet8'), wrong)
    assert str(raised.value).splitlines()[1:] == [
        '  missing: stem.bn.bias',
        '  unexpected: head.weight',
        '  fc.weight: shape (7, 64), expected (10, 64)',
    ]


def test_names_everything_that_does_not_fit_a_sew_resnet():
    wrong = sew_state_dict(**SMALL, containers=True)
    del wrong['layer2.0.conv1.1.running_mean']
    wrong['layer2.0.conv3.0.weight'] = wrong['layer2.0.conv2.0.weight']
    with pytest.raises(ValueError, match='do not fit') as raised:
        from_state_dict(create_model('sew_resnet18', **SMALL), wrong)
    assert str(raised.value).splitlines()[1:] == [
        '  missing: layer2.0.conv1.1.running_mean',
        '  unexpected: layer2.0.conv3.0.weight',
    ]


def test_bottlenecks_and_fully_connected_layers_have_names():
    model = create_model('sew_resnet50', hidden=(8, 7))
    kernel = ('params', 'stage1', 'block2', 'conv3', 'conv', 'kernel')
    assert torch_name(model, kernel) == 'blocks.1.c3.conv.weight'
    assert torch_name(model, ('params', 'dense2', 'kernel')) == 'dense2.weight'


FLAT_SEW = sew_state_dict(**SMALL, containers=False)


@pytest.mark.parametrize(
    ('saved', 'name', 'options', 'message'),
    [
        (FLAT_SEW, 'ms_resnet18', {}, "only for SEW-ResNets.* kind='ms' must be 'lif_before_add'"),
        (sew_state_dict(**SMALL, containers=True), 'tdbn_resnet34', {}, "kind='vanilla' must be"),
        (FLAT_SEW, 'sew_resnet18', {'hidden': (8,)}, r'hidden=\(8,\) must be \(\)'),
        (FLAT_SEW, 'sew_resnet18', {'learnable_threshold': True}, 'no name for spike/threshold'),
        (authors_state_dict(**SMALL), 'sew_resnet18', {}, "authors' MS-ResNets.* must be 'ms'"),
        (FLAT_SEW, 'plif_nmnist', {}, 'only residual networks and VGGs have names'),
        ({}, 'ta_snn', {}, 'only residual networks and VGGs have names'),
    ],
)
def test_weights_of_another_kind_of_network_are_refused(saved, name, options, message):
    with pytest.raises(ValueError, match=message):
        from_state_dict(create_model(name, **options), saved)


@pytest.mark.parametrize(
    ('name', 'scheme', 'message'),
    [
        ('vanilla_resnet8', 'authors', "authors' MS-ResNets.* kind='vanilla'"),
        ('ms_resnet8', 'spikingjelly', 'only for SEW-ResNets'),
        ('plif_nmnist', 'snnjax', 'only residual networks and VGGs have names'),
        ('ms_resnet8', 'author', 'did you mean .*authors'),
    ],
)
def test_there_are_names_for_some_networks_only(name, scheme, message):
    with pytest.raises(ValueError, match=message):
        to_state_dict(create_model(name), {}, scheme)
