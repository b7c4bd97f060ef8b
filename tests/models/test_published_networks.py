"""Networks of papers against their equations in NumPy, in float64: logits and gradients."""

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
BLOCKS = {'stage1/block1': 1, 'stage1/block2': 1, 'stage2/block1': 2}
# A block with a projection and one without are enough where only the kind of the blocks differs.
SMALLEST = {'num_classes': 3, 'blocks': (2,), 'widths': (8,), 'strides': (2,)}
TWO_BLOCKS = {'stage1/block1': 2, 'stage1/block2': 1}
CONV = {'num_classes': 3, 'channels': (4, 5), 'hidden': (12,), 'dropout': 0.0}

# Name of the network, its options, shape of an image, the statement and what it is told.
CASES = {
    'ms': (
        'ms_resnet8',
        {**SMALL, 'step_logits': True},
        (6, 6, 3),
        'paper_network',
        {'blocks': BLOCKS},
    ),
    'ms_imagenet': (
        'ms_resnet18',
        SMALLEST,
        (16, 16, 3),
        'paper_network',
        {'blocks': TWO_BLOCKS, 'stem_stride': 2},
    ),
    'ms_pooled': (
        'ms_resnet18',
        {**SMALLEST, 'avgpool_shortcut': True},
        (16, 16, 3),
        'paper_network',
        {'blocks': TWO_BLOCKS, 'stem_stride': 2, 'pooled': True},
    ),
    **{
        kind: (
            f'{kind}_{"net" if kind == "plain" else "resnet"}8',
            SMALL,
            (6, 6, 3),
            'paper_network',
            {'blocks': BLOCKS, 'kind': kind},
        )
        for kind in ('vanilla', 'plain', 'wo_lif')
    },
    'tdbn': (
        'tdbn_resnet19',
        {**SMALL, 'hidden': (7,), 'step_logits': True},
        (6, 6, 3),
        'tdbn_network',
        {'blocks': BLOCKS, 'hidden': True},
    ),
    'tdbn_bottleneck': (
        'tdbn_resnet50',
        SMALLEST,
        (12, 12, 3),
        'tdbn_network',
        {'blocks': TWO_BLOCKS, 'stem_stride': 2, 'bottleneck': True},
    ),
    'sew_add': (
        'sew_resnet18',
        {**SMALL, 'step_logits': True},
        (16, 16, 3),
        'sew_network',
        {'blocks': BLOCKS, 'connect': numpy_networks.add},
    ),
    'sew_add_bottleneck': (
        'sew_resnet50',
        SMALLEST,
        (16, 16, 3),
        'sew_network',
        {'blocks': TWO_BLOCKS, 'connect': numpy_networks.add, 'bottleneck': True},
    ),
    'sew_and': (
        'sew_resnet18',
        {**SMALLEST, 'kind': 'sew_and'},
        (16, 16, 3),
        'sew_network',
        {'blocks': TWO_BLOCKS, 'connect': numpy_networks.logical_and},
    ),
    'sew_iand': (
        'sew_resnet18',
        {**SMALLEST, 'kind': 'sew_iand'},
        (16, 16, 3),
        'sew_network',
        {'blocks': TWO_BLOCKS, 'connect': numpy_networks.and_not},
    ),
    'plif': (
        'plif_cifar10',
        {**CONV, 'pools': (1, 2), 'step_logits': True},
        (6, 7, 3),
        'plif_network',
        {'pools': (1, 2)},
    ),
    # Two hidden units of each attention; one of the first never opens its relu.
    'ta': (
        'ta_snn',
        {**CONV, 'pools': (2, 2), 'attention': 2},
        (4, 8, 8, 2),
        'ta_network',
        {'pools': (2, 2)},
    ),
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
    images = rng.normal(size=(3, *shape))
    cotangent = rng.normal(size=(3, NUM_STEPS, 3) if model.step_logits else (3, 3))
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
    if not model.step_logits:
        expected = numpy_networks.mean(expected, (1,))
    backward(expected, cotangent)
    np.testing.assert_allclose(logits, expected.value, rtol=0, atol=1e-9)
    for key, gradient in traverse_util.flatten_dict(of_params, sep='/').items():
        assert np.any(gradient), f'{key} has no part in the logits'
        np.testing.assert_allclose(gradient, nodes[key].gradient, rtol=1e-9, atol=1e-9, err_msg=key)
    np.testing.assert_allclose(
        of_images, image.gradient.reshape(images.shape), rtol=1e-9, atol=1e-9
    )


def soft_step(distance):
    """Of which the arctan surrogate is the derivative."""
    return np.arctan(np.pi * distance) / np.pi + 0.5


STREAM = (2, 3, 5, 4, 3)
# What the networks are made of, and the shapes of its inputs. Neurons are made smooth.
OPERATIONS = {
    'add': (numpy_networks.add, [STREAM, STREAM]),
    'and': (numpy_networks.logical_and, [STREAM, STREAM]),
    'and_not': (numpy_networks.and_not, [STREAM, STREAM]),
    'repeat': (lambda x: numpy_networks.repeat(x, 4), [(2, 1, 3)]),
    'mean': (lambda x: numpy_networks.mean(x, (2, 3)), [STREAM]),
    'mean_keepdims': (lambda x: numpy_networks.mean(x, (2, 3), keepdims=True), [STREAM]),
    'reshape': (lambda x: numpy_networks.reshape(x, 2, 3, 1, 1, -1), [STREAM]),
    'dense': (numpy_networks.dense, [STREAM, (3, 2)]),
    'dense_bias': (numpy_networks.dense, [STREAM, (3, 2), (2,)]),
    'conv1': (lambda x, k: numpy_networks.convolution(x, k, 2), [STREAM, (1, 1, 3, 2)]),
    'conv3': (lambda x, k: numpy_networks.convolution(x, k, 1), [STREAM, (3, 3, 3, 2)]),
    'conv7': (lambda x, k: numpy_networks.convolution(x, k, 2), [STREAM, (7, 7, 3, 2)]),
    'normalization': (
        lambda x, scale, bias: numpy_networks.normalization(x, scale, bias, 0.7),
        [STREAM, (3,), (3,)],
    ),
    'average_pool': (lambda x: numpy_networks.average_pool(x, 2), [(2, 3, 6, 4, 3)]),
    'max_pool': (lambda x: numpy_networks.max_pool(x, 3, 2, 1), [STREAM]),
    'max_pool_apart': (lambda x: numpy_networks.max_pool(x, 2, 2, 0), [STREAM]),
    'attention': (numpy_networks.attention, [STREAM, (3, 6), (6,), (6, 3), (3,)]),
    'neurons': (
        lambda x: numpy_networks.neurons(
            x,
            leak=0.6,
            threshold=0.3,
            reset=0.2,
            surrogate=numpy_networks.arctan,
            detached=False,
            spike=soft_step,
        ),
        [(3, 5, 4)],
    ),
    'plif': (
        lambda x, w: numpy_networks.plif(x, w, detached=False, spike=soft_step),
        [(3, 5, 4), ()],
    ),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_the_statements_pull_back_what_finite_differences_say(name):
    operation, shapes = OPERATIONS[name]
    rng = np.random.default_rng(0)
    inputs = [Node(np.asarray(rng.normal(size=shape))) for shape in shapes]
    out = operation(*inputs)
    cotangent = rng.normal(size=out.value.shape)
    backward(out, cotangent)
    for node in inputs:
        here, direction = node.value, rng.normal(size=node.value.shape)
        values = []
        for move in (1e-6, -1e-6):
            node.value = here + move * direction
            values.append(operation(*inputs).value)
        node.value = here
        Node.tape.clear()
        slope = ((values[0] - values[1]) * cotangent).sum() / 2e-6
        assert abs(slope) > 1e-3
        np.testing.assert_allclose((node.gradient * direction).sum(), slope, rtol=1e-6)
