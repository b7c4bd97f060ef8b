import jax
import jax.numpy as jnp
import pytest

from snnjax import create_model, list_models
from snnjax.models.summary import spiking_macs, summarize


def count_parameters(model, size=64):
    image = jnp.zeros((1, size, size, model.in_channels))
    params = jax.eval_shape(model.init, jax.random.key(0), image)['params']
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ('name', 'options', 'parameters'),
    [
        ('ms_resnet20', {}, 272_474),
        ('ms_resnet32', {}, 466_906),
        ('ms_resnet44', {}, 661_338),
        ('ms_resnet56', {}, 855_770),
        ('ms_resnet110', {}, 1_730_714),
        ('ms_resnet482', {'scan_layers': True}, 7_758_106),
        ('ms_resnet20_dvs', {}, 272_330),
        ('ms_resnet18', {}, 11_693_736),
        ('ms_resnet34', {}, 21_801_896),
        ('ms_resnet104', {}, 77_350_504),
        ('ms_resnet104', {'stem': 'conv7'}, 77_284_264),
        # The same skeletons; PlainNet has no shortcuts to project.
        ('vanilla_resnet20', {}, 272_474),
        ('wo_lif_resnet20', {}, 272_474),
        ('lif_before_add_resnet20', {}, 272_474),
        ('ann_resnet20', {}, 272_474),
        ('plain_net20', {}, 272_474 - (16 * 32 + 2 * 32) - (32 * 64 + 2 * 64)),
        ('tdbn_resnet34', {}, 21_801_896),
        ('relu_resnet20', {}, 272_474),
        # Without projections, and with one in the first stage, too (Hu et al. 2021).
        ('relu_resnet20', {'pad_shortcut': True}, 272_474 - 32 * (16 + 2) - 64 * (32 + 2)),
        ('relu_resnet20', {'project_first': True}, 272_762),
    ],
)
def test_has_the_parameters_of_its_table(name, options, parameters):
    assert count_parameters(create_model(name, **options)) == parameters


@pytest.mark.parametrize(
    ('name', 'shape', 'parameters'),
    [
        # Table 4 of the paper has 12.6 M, cut and not rounded.
        ('tdbn_resnet19', (32, 32), 12_697_994),
        # Those of torchvision's ResNets of the same depth, which have no neurons either.
        ('sew_resnet18', (224, 224), 11_689_512),
        ('sew_resnet34', (224, 224), 21_797_672),
        ('sew_resnet50', (224, 224), 25_557_032),
        ('sew_resnet101', (224, 224), 44_549_160),
        ('sew_resnet152', (224, 224), 60_192_808),
        ('relu_resnet34', (224, 224), 21_797_672),
        ('relu_resnet50', (224, 224), 25_557_032),
        ('vgg16', (224, 224), 138_357_544),
        ('vgg16_bn', (224, 224), 138_365_992),
        ('efficientnet_b0', (64, 64), 5_288_548),
        # Convolutions, their scales and offsets, and the classifier.
        ('vgg16_cifar', (32, 32), 14_710_464 + 2 * 4224 + 5130),
        # Convolutions and fully connected layers of the code of the authors' laboratory.
        ('sengupta_vgg16', (32, 32), 14_710_464 + 2048 * 4096 + 4096**2 + 4096 * 10),
        ('sengupta_resnet20', (32, 32), 11_253_440),
        # The same layers, and Zheng's first stage has a shortcut to project in either case.
        ('tdbn_resnet50', (224, 224), 25_557_032),
        # The weights of the layers in figure 2 of Fang et al., the scales and offsets of
        # normalization, and a decay for each layer of neurons.
        ('plif_nmnist', (34, 34), 9 * 128 * (2 + 128) + 4 * 128 + 2048 * (64 * 128 + 100) + 4),
        (
            'plif_cifar10',
            (32, 32),
            9 * 256 * (3 + 5 * 256) + 12 * 256 + 2048 * (64 * 256 + 100) + 8,
        ),
        (
            'plif_cifar10_dvs',
            (128, 128),
            9 * 128 * (2 + 3 * 128) + 8 * 128 + 512 * (64 * 128 + 100) + 6,
        ),
        (
            'plif_dvs_gesture',
            (128, 128),
            9 * 128 * (2 + 4 * 128) + 10 * 128 + 512 * (16 * 128 + 110) + 7,
        ),
        # Table 4 has 1.7 M: what it is where a half of 128 pixels in each direction is left out.
        ('ta_snn', (10, 64, 64), 1_703_808),
        ('ta_snn', (10, 128, 128), 2_097_024),
    ],
)
def test_has_the_parameters_that_were_published(name, shape, parameters):
    model = create_model(name)
    images = jnp.zeros((1, *shape, model.in_channels))
    params = jax.eval_shape(model.init, jax.random.key(0), images)['params']
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize(
    ('name', 'image_shape', 'macs'),
    [
        ('ms_resnet20', (32, 32, 3), 40_108_032),
        ('ms_resnet20_dvs', (5, 128, 128, 2), 40_108_032),
        ('ms_resnet18', (224, 224, 3), 1_676_279_808),
        ('ms_resnet34', (224, 224, 3), 3_525_967_872),
        ('ms_resnet104', (224, 224, 3), 11_618_353_152),
    ],
)
def test_has_the_operations_of_its_table(name, image_shape, macs):
    assert spiking_macs(summarize(create_model(name), image_shape)) == macs


def test_lists_the_networks_of_the_paper():
    assert list_models('ms_resnet?') == ['ms_resnet8']
    assert {'ms_resnet482', 'ms_resnet104', 'ms_resnet20_dvs', 'plain_net20'} <= set(list_models())
    for name in list_models('*_resnet*'):
        if name.startswith('sengupta'):
            continue
        of_imagenet = name.partition('_resnet')[2].startswith(('18', '34', '50', '10', '15'))
        assert create_model(name).num_classes == (
            1000 if of_imagenet and not name.endswith('110') else 10
        )


def test_lists_the_networks_that_it_is_compared_with():
    assert list_models('sew*') == [f'sew_resnet{depth}' for depth in (18, 34, 50, 101, 152)]
    assert list_models('tdbn*') == [f'tdbn_resnet{depth}' for depth in ('19', '34', '50', '34x2')]
    assert {'plif_cifar10', 'ta_snn'} <= set(list_models())


def test_lists_the_networks_that_are_to_be_converted():
    assert list_models('efficientnet*') == [f'efficientnet_b{size}' for size in range(8)]
    assert list_models('*vgg16*') == ['vgg16', 'vgg16_bn', 'vgg16_cifar', 'sengupta_vgg16']
    assert {'relu_resnet20', 'relu_resnet101', 'sengupta_resnet34'} <= set(list_models())
    for name in ('relu_resnet20', 'vgg16', 'efficientnet_b0', 'sengupta_resnet20'):
        assert not create_model(name).is_spiking


def test_takes_every_cifar_depth():
    assert create_model('ms_resnet26').blocks == (4, 4, 4)


def test_a_factor_widens_every_stage():
    assert create_model('ms_resnet20x4').widths == (64, 128, 256)
    assert create_model('vanilla_resnet34x2').widths == (128, 256, 512, 1024)


def test_options_take_the_place_of_the_forms_own():
    model = create_model('ms_resnet104', stem='conv7', dropout=0.0, blocks=[1, 1, 1, 1])
    assert (model.stem, model.dropout, model.blocks) == ('conv7', 0.0, (1, 1, 1, 1))
    assert model.avgpool_shortcut
    assert model.zero_init_residual


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('ms_restnet20', 'did you mean .*ms_resnet20'),
        ('transformer', 'known are .*ms_resnet20'),
        ('ms_resnet21', 'the nearest are ms_resnet20 and ms_resnet26'),
        ('vanilla_resnet2', 'the nearest are vanilla_resnet8 and vanilla_resnet14'),
        ('ms_resnet20_dsv', 'did you mean .*ms_resnet20_dvs'),
    ],
)
def test_an_unknown_name_gets_the_near_ones(name, hint):
    with pytest.raises(ValueError, match=hint):
        create_model(name)


def test_an_unknown_option_gets_the_near_ones():
    with pytest.raises(TypeError, match="no option 'num_step'; did you mean num_steps"):
        create_model('ms_resnet20', num_step=4)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'stem': 'conv5'}, "unknown stem 'conv5'"),
        ({'surrogate': 'rectangle'}, "unknown surrogate 'rectangle'; did you mean rectangular"),
        ({'blocks': (1, 1)}, 'must each have one number per stage'),
        ({'kind': 'vanilla', 'spiking_shortcut': True}, 'see spikes'),
        ({'scan_layers': 'yes'}, "scan_layers='yes' must be"),
        ({'pad_shortcut': True, 'project_first': True}, 'neither project nor average'),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        create_model('ms_resnet20', **options)
