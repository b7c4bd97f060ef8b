"""Networks under what JAX offers around them: other meshes, stricter settings, empty batches."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from snnjax import create_model

FRAMES = {'num_steps': 2, 'channels': (4, 4), 'pools': (2, 2), 'hidden': (8,)}
RESNET = {'num_steps': 2, 'widths': (4, 4, 4)}
NETWORKS = {
    'ms': ('ms_resnet8', RESNET, (4, 8, 8, 3)),
    'scanned': ('ms_resnet20', RESNET | {'scan_layers': True}, (4, 8, 8, 3)),
    'learnable': (
        'ms_resnet8',
        RESNET | {'learnable_decay': True, 'learnable_threshold': True, 'detach_reset': False},
        (4, 20, 8, 8, 3),
    ),
    'bfloat16': ('vanilla_resnet8', RESNET | {'dtype': 'bfloat16'}, (4, 8, 8, 3)),
    'max_pool': (
        'sew_resnet18',
        {'num_steps': 2, 'blocks': (1, 1, 1, 1), 'widths': (4, 4, 4, 4)},
        (4, 32, 32, 3),
    ),
    'plif': ('plif_nmnist', FRAMES, (4, 8, 8, 2)),
    'ta_snn': ('ta_snn', FRAMES, (4, 8, 8, 2)),
    'ann': ('ann_resnet8', RESNET, (4, 8, 8, 3)),
}


def network(kind):
    """A network, the shapes of its variables and its images, and the gradient of a loss."""
    name, options, shape = NETWORKS[kind]
    if len(shape) == 5:
        options = options | {'num_steps': None}
    model = create_model(name, **options)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def gradient(variables, images):
        def loss(params):
            logits, updates = model.apply(
                {**variables, 'params': params},
                images,
                train=True,
                mutable=['batch_stats', 'firing_rates'],
                rngs={'dropout': jax.random.key(2)},
            )
            return jnp.sum(jnp.square(logits)), updates['batch_stats']

        return jax.grad(loss, has_aux=True)(variables['params'])[0]

    return model, variables, images, gradient


def two_devices(kind):
    return jax.make_mesh((2,), ('d',), axis_types=(kind,), devices=jax.devices()[:2])


@pytest.mark.parametrize('kind', NETWORKS)
def test_can_be_mapped_over_shards(kind):
    model, variables, images, gradient = network(kind)
    batch, whole = PartitionSpec('d'), PartitionSpec()
    for function, out in ((model.apply, batch), (gradient, whole)):
        mapped = jax.shard_map(
            function, mesh=two_devices(AxisType.Auto), in_specs=(whole, batch), out_specs=out
        )
        jax.eval_shape(mapped, variables, images)


@pytest.mark.parametrize('kind', NETWORKS)
def test_follows_a_mesh_of_explicit_axes(kind):
    model, variables, images, gradient = network(kind)
    mesh = two_devices(AxisType.Explicit)

    def lie(tree, *spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    with jax.set_mesh(mesh):
        logits = jax.eval_shape(model.apply, lie(variables), lie(images, 'd'))
        assert logits.sharding.spec[0] == 'd'
        jax.eval_shape(gradient, lie(variables), lie(images, 'd'))


@contextlib.contextmanager
def strict():
    with jax.numpy_dtype_promotion('strict'), jax.numpy_rank_promotion('raise'):
        yield


@pytest.mark.parametrize('kind', NETWORKS)
def test_needs_no_promotion_of_dtypes_or_ranks(kind):
    model, variables, images, gradient = network(kind)
    with strict():
        jax.eval_shape(model.apply, variables, images)
        jax.eval_shape(gradient, variables, images)


@pytest.mark.parametrize('kind', NETWORKS)
def test_an_empty_batch_has_no_logits(kind):
    model, variables, images, gradient = network(kind)
    empty = jax.ShapeDtypeStruct((0, *images.shape[1:]), images.dtype)
    logits = jax.eval_shape(model.apply, variables, empty)
    assert logits.shape == (0, model.num_classes)
    found = jax.eval_shape(gradient, variables, empty)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, variables['params'])


@pytest.mark.parametrize('kind', NETWORKS)
def test_parameters_and_statistics_are_float32_in_64_bit_mode(kind, x64):
    _, variables, images, gradient = network(kind)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype('float32')}
    found = jax.eval_shape(gradient, variables, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype('float32')}


@pytest.mark.parametrize('kind', NETWORKS)
def test_flax_tabulates_it(kind):
    model, variables, images, _ = network(kind)
    images = jnp.ones(images.shape)
    total = sum(leaf.size for leaf in jax.tree.leaves(variables))
    rngs = {'params': jax.random.key(0), 'dropout': jax.random.key(1)}
    options = {'console_kwargs': {'width': 200}}
    for table in (
        model.tabulate(rngs, images, **options),
        nn.tabulate(model, rngs, **options)(images, train=True),
    ):
        assert f'Total Parameters: {total:,}' in table
