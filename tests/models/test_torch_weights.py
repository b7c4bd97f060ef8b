import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.stacking import stack_layers, unstack_layers
from snnjax.models.torch_weights import from_state_dict, to_state_dict

SMALL = {'blocks': (1, 2, 4, 1), 'widths': (4, 5, 6, 7), 'num_classes': 3}


def random_variables(model):
    """Variables, no two alike, without the cost of initialising them."""
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
    ],
)
def test_there_and_back_is_the_identity(name, options):
    model = create_model(name, **options)
    variables = random_variables(model)
    state_dict = to_state_dict(model, variables)
    assert len(state_dict) == len(jax.tree.leaves(unstack_layers(variables)))
    chex.assert_trees_all_equal(from_state_dict(model, state_dict), variables)


def authors_state_dict(blocks, widths, num_classes, *, triple_stem=False, pool=False):
    """What the authors' model of these sizes would save, written down from its modules' order."""
    rng = np.random.default_rng(1)
    arrays = {}

    def conv(name, out, inputs, size, bias=False):
        arrays[f'{name}.weight'] = rng.normal(size=(out, inputs, size, size))
        if bias:
            arrays[f'{name}.bias'] = rng.normal(size=out)

    def norm(name, channels):
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            arrays[f'{name}.bn.{leaf}'] = rng.normal(size=channels)
        arrays[f'{name}.bn.num_batches_tracked'] = np.array(7)

    if triple_stem:
        for i, inputs in enumerate((3, widths[0], widths[0])):
            conv(f'conv1.{i}', widths[0], inputs, 3, bias=True)
        norm('conv1.3', widths[0])
    else:
        conv('conv1.0', widths[0], 3, 7)
        norm('conv1.1', widths[0])
    inputs = widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=2):
        for block in range(count):
            name = f'conv{stage}_x.{block}'
            conv(f'{name}.residual_function.1', width, inputs, 3)
            norm(f'{name}.residual_function.2', width)
            conv(f'{name}.residual_function.4', width, width, 3)
            norm(f'{name}.residual_function.5', width)
            if block == 0:
                conv(f'{name}.shortcut.{int(pool)}', width, inputs, 1)
                norm(f'{name}.shortcut.{int(pool) + 1}', width)
            inputs = width
    arrays['fc.weight'] = rng.normal(size=(num_classes, inputs))
    arrays['fc.bias'] = rng.normal(size=num_classes)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


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
    expected = {k: a for k, a in published.items() if not k.endswith('num_batches_tracked')}
    chex.assert_trees_all_equal(back, expected)


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


def test_the_authors_names_are_for_their_networks_only():
    model = create_model('vanilla_resnet8')
    with pytest.raises(ValueError, match='ImageNet MS-ResNets only'):
        to_state_dict(model, random_variables(model), 'authors')
