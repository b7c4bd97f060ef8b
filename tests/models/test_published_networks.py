"""Networks of other papers against their equations in NumPy, in float64: logits and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from snnjax import create_model
from tests.models import numpy_networks
from tests.models.numpy_networks import Node, Parameters, backward

SMALL = {'num_classes': 3, 'blocks': (2, 1), 'widths': (4, 6), 'strides': (1, 2)}
SEW = {'stem': 'conv7', 'stem_stride': 2, 'max_pool': True, **SMALL}
BLOCKS = {'stage1/block1': 1, 'stage1/block2': 1, 'stage2/block1': 2}
CONV = {'num_classes': 3, 'channels': (4, 5), 'hidden': (12,), 'dropout': 0.0}

# Name of the network, its options, shape of an image, the statement and what it is told.
CASES = {
    'tdbn': ('tdbn_resnet8', SMALL, (6, 6, 3), 'tdbn_network', {'blocks': BLOCKS}),
    'tdbn_bottleneck': (
        'tdbn_resnet8',
        {**SMALL, 'bottleneck': True},
        (6, 6, 3),
        'tdbn_network',
        {'blocks': BLOCKS, 'bottleneck': True},
    ),
    'tdbn19': (
        'tdbn_resnet19',
        {**SMALL, 'hidden': (7,)},
        (6, 6, 3),
        'tdbn_network',
        {'blocks': BLOCKS, 'hidden': True},
    ),
    'sew_add': (
        'sew_resnet8',
        SEW,
        (16, 16, 3),
        'sew_network',
        {'blocks': BLOCKS, 'connect': numpy_networks.add},
    ),
    'sew_and': (
        'sew_resnet8',
        {**SEW, 'kind': 'sew_and'},
        (16, 16, 3),
        'sew_network',
        {'blocks': BLOCKS, 'connect': numpy_networks.logical_and},
    ),
    'sew_iand_bottleneck': (
        'sew_resnet8',
        {**SEW, 'kind': 'sew_iand', 'bottleneck': True},
        (16, 16, 3),
        'sew_network',
        {'blocks': BLOCKS, 'connect': numpy_networks.and_not, 'bottleneck': True},
    ),
    'plif': (
        'plif_cifar10',
        {**CONV, 'pools': (2, 2)},
        (8, 9, 3),
        'plif_network',
        {'pools': (2, 2)},
    ),
    'ta': ('ta_snn', {**CONV, 'pools': (2, 2)}, (4, 8, 8, 2), 'ta_network', {'pools': (2, 2)}),
}
NUM_STEPS = 4


def random_variables(model, images):
    """Parameters with which neurons fire, but not all the time."""
    variables = jax.eval_shape(functools.partial(model.init, jax.random.key(0)), images)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        values = rng.normal(size=leaf.shape)
        if name.endswith('scale'):
            return jnp.asarray(1.2 + 0.3 * values)
        if name.endswith('kernel'):
            strength = 5 if 'dense' in name else 2
            return jnp.asarray(strength * values / np.sqrt(np.prod(leaf.shape[:-1])))
        return jnp.asarray(0.3 * values + (1.0 if 'squeeze' in name else 0.2))

    params = jax.tree.map_with_path(draw, variables['params'])
    stats = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables['batch_stats'])
    return {'params': params, 'batch_stats': stats}


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('case', CASES)
def test_logits_and_gradients_are_those_of_the_equations(case):
    name, options, shape, statement, told = CASES[case]
    model = create_model(name, num_steps=NUM_STEPS, in_channels=shape[-1], **options)
    rng = np.random.default_rng(1)
    images, cotangent = rng.normal(size=(3, *shape)), rng.normal(size=(3, 3))
    variables = random_variables(model, jnp.asarray(images))

    @jax.jit
    def run(params, images):
        def apply(params, images):
            return model.apply(
                variables | {'params': params},
                images,
                train=True,
                mutable=['batch_stats', 'firing_rates'],
            )

        logits, pull, updates = jax.vjp(apply, params, images, has_aux=True)
        return logits, pull(jnp.asarray(cotangent)), updates['firing_rates']

    logits, (of_params, of_images), firing_rates = run(variables['params'], images)
    for path, rate in jax.tree.leaves_with_path(firing_rates):
        if path[-1].key == 'rate':
            assert 0.02 < rate.mean() < 0.98, jax.tree_util.keystr(path)

    flat = traverse_util.flatten_dict(variables['params'], sep='/')
    nodes = Parameters({key: Node(np.asarray(leaf)) for key, leaf in flat.items()})
    image = Node(images if images.ndim == 5 else images[:, None])
    expected = getattr(numpy_networks, statement)(nodes, image, NUM_STEPS, **told)
    backward(expected, cotangent)
    np.testing.assert_allclose(logits, expected.value, rtol=0, atol=1e-9)
    for key, gradient in traverse_util.flatten_dict(of_params, sep='/').items():
        assert np.any(gradient), f'{key} has no part in the logits'
        np.testing.assert_allclose(gradient, nodes[key].gradient, atol=1e-9, err_msg=key)
    np.testing.assert_allclose(of_images, image.gradient.reshape(images.shape), atol=1e-9)


@pytest.mark.parametrize(
    'smooth',
    [
        lambda x, k: numpy_networks.convolution(x, k, 2),
        lambda x, k: numpy_networks.normalisation(
            x, Node(k.value.mean((0, 1, 2))), Node(k.value.std((0, 1, 2))), 0.7
        ),
        lambda x, k: numpy_networks.average_pool(x, 2),
        lambda x, k: numpy_networks.max_pool(x, 3, 2, 1),
        lambda x, k: numpy_networks.attention(
            x, *(Node(k.value[place]) for place in ((0, 0), (1, 0, 0), (2, 0), (1, 1, 0)))
        ),
    ],
    ids=['convolution', 'normalisation', 'average_pool', 'max_pool', 'attention'],
)
def test_the_statements_pull_back_what_finite_differences_say(smooth):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, 4, 4, 3)), rng.normal(size=(3, 3, 3, 3))
    direction = rng.normal(size=x.shape)
    node = Node(x)
    out = smooth(node, Node(kernel))
    cotangent = rng.normal(size=out.value.shape)
    backward(out, cotangent)
    ahead, behind = (
        (smooth(Node(x + step * direction), Node(kernel)).value * cotangent).sum()
        for step in (1e-6, -1e-6)
    )
    Node.tape.clear()
    slope = (ahead - behind) / 2e-6
    np.testing.assert_allclose((node.gradient * direction).sum(), slope, rtol=1e-6)
