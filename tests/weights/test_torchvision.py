"""Weights under torchvision's names: names and shapes, and its own logits where it is installed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snnjax import create_model
from snnjax.models.params import by_name
from snnjax.weights.torch_names import scheme_of, torch_name
from snnjax.weights.torch_state import from_state_dict, to_state_dict

# Names and shapes as torchvision prints them, of layers where counting could go wrong.
NAMES = {
    'relu_resnet50': {
        'conv1.weight': (64, 3, 7, 7),
        'bn1.running_var': (64,),
        'layer1.0.conv1.weight': (64, 64, 1, 1),
        'layer1.0.downsample.0.weight': (256, 64, 1, 1),
        'layer2.0.conv2.weight': (128, 128, 3, 3),
        'layer4.2.bn3.bias': (2048,),
        'fc.weight': (1000, 2048),
    },
    'vgg16': {
        'features.0.weight': (64, 3, 3, 3),
        'features.5.bias': (128,),
        'features.28.weight': (512, 512, 3, 3),
        'classifier.0.weight': (4096, 25088),
        'classifier.6.bias': (1000,),
    },
    'vgg16_bn': {
        'features.1.running_mean': (64,),
        'features.7.weight': (128, 64, 3, 3),
        'features.40.weight': (512, 512, 3, 3),
        'features.41.weight': (512,),
        'classifier.3.weight': (4096, 4096),
    },
    'efficientnet_b0': {
        'features.0.0.weight': (32, 3, 3, 3),
        'features.1.0.block.0.0.weight': (32, 1, 3, 3),
        'features.1.0.block.1.fc1.weight': (8, 32, 1, 1),
        'features.1.0.block.2.1.running_var': (16,),
        'features.6.3.block.1.0.weight': (1152, 1, 5, 5),
        'features.6.3.block.2.fc2.bias': (1152,),
        'features.7.0.block.3.0.weight': (320, 1152, 1, 1),
        'features.8.1.bias': (1280,),
        'classifier.1.weight': (1000, 1280),
    },
}
ARRAYS = {'relu_resnet50': 267, 'vgg16': 32, 'vgg16_bn': 84, 'efficientnet_b0': 311}


def shapes_of(model, size):
    image = jnp.zeros((1, size, size, 3))
    shapes = jax.eval_shape(functools.partial(model.init, jax.random.key(0)), image)
    return by_name({key: shapes[key] for key in ('params', 'batch_stats') if key in shapes})


def torch_shape(shape):
    if len(shape) == 4:
        return shape[3], shape[2], shape[0], shape[1]
    return shape[::-1]


@pytest.mark.parametrize('name', NAMES)
def test_names_and_shapes_are_those_of_torchvision(name):
    model = create_model(name)
    shapes = {
        torch_name(model, tuple(key.split('/')), 'torchvision'): torch_shape(leaf.shape)
        for key, leaf in shapes_of(model, model.default_image_size).items()
    }
    assert {key: shapes.get(key) for key in NAMES[name]} == NAMES[name]
    # All but the numbers of batches, which are no weights.
    assert len(shapes) == ARRAYS[name]


SMALL = {
    'relu_resnet50': {'blocks': (1, 1, 1, 1), 'widths': (4, 4, 4, 4)},
    'vgg16': {'widths': (4, 4, 4, 4, 5), 'hidden': (6, 7)},
    'vgg16_bn': {'widths': (4, 4, 4, 4, 5), 'hidden': (6, 7)},
    'vgg16_cifar': {'widths': (4, 4, 4, 4, 5), 'pool_last': False},
    'sengupta_resnet20': {'blocks': (1, 1), 'widths': (4, 5), 'strides': (1, 2)},
    'efficientnet_b0': {
        'blocks': (1, 2),
        'widths': (4, 8),
        'strides': (1, 2),
        'kernels': (3, 5),
        'expansions': (1, 2),
        'stem_width': 4,
    },
}


@pytest.mark.parametrize('name', SMALL)
def test_there_and_back_is_the_identity(name):
    model = create_model(name, num_classes=3, **SMALL[name])
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))),
    )
    scheme = 'snnjax' if name.startswith('sengupta') else 'torchvision'
    saved = to_state_dict(model, variables, scheme)
    wrapped = {f'net.{key}': value for key, value in saved.items()}
    back = from_state_dict(model, wrapped)
    assert by_name(back).keys() == by_name(variables).keys()
    for key, leaf in by_name(variables).items():
        np.testing.assert_array_equal(by_name(back)[key], leaf, err_msg=key)


def test_pixels_of_the_first_dense_layer_have_their_channels_first():
    model = create_model('vgg16', num_classes=3, **SMALL['vgg16'])
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), variables)
    # Row 2, column 3, channel 4 of 7x7 pixels with 5 channels.
    variables['params']['dense1']['kernel'][(2 * 7 + 3) * 5 + 4, 1] = 1
    weight = to_state_dict(model, variables, 'torchvision')['classifier.0.weight']
    assert weight.reshape(6, 5, 7, 7)[1, 4, 2, 3] == 1


def test_a_neuron_with_a_parameter_has_no_name_there():
    model = create_model('relu_resnet18', activation='qcfs')
    with pytest.raises(ValueError, match="scheme 'torchvision' has no name for spike/bound"):
        torch_name(model, ('params', 'spike', 'bound'), 'torchvision')


# Torchvision's function, its options, our name and options, and the height and width of images.
LOGITS = [
    ('resnet34', 'relu_resnet34', 64),
    ('resnet50', 'relu_resnet50', 64),
    ('vgg16', 'vgg16', 96),
    ('vgg16_bn', 'vgg16_bn', 224),
    ('efficientnet_b0', 'efficientnet_b0', 65),
    ('efficientnet_b7', 'efficientnet_b7', 64),
]


@pytest.mark.parametrize(('theirs', 'ours', 'size'), LOGITS)
def test_imported_weights_give_the_logits_of_torchvision(theirs, ours, size):
    torch = pytest.importorskip('torch', reason='needs PyTorch')
    torchvision = pytest.importorskip('torchvision', reason='needs torchvision')
    torch.manual_seed(0)
    network = getattr(torchvision.models, theirs)(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = network(images).numpy()
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    del network
    assert scheme_of(state) in ('torchvision', 'spikingjelly')
    model = create_model(ours)
    variables = from_state_dict(model, state)
    logits = jax.jit(model.apply)(variables, images.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
