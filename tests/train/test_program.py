"""The compiled step on one device and on eight."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from snnjax.data import DataOptions, open_dataset
from snnjax.data.pipeline import TrainingBatches
from snnjax.models.params import unstack_layers
from snnjax.tools.plan_tpu import count_collectives
from snnjax.train.checkpoints import Checkpoints
from snnjax.train.evaluation import evaluate
from snnjax.train.sharding import make_mesh, put_batch
from snnjax.train.step import normalize
from tests.runs import program_of


@pytest.fixture
def batch():
    split = open_dataset(DataOptions(name='digits')).load('train')
    return TrainingBatches(split, batch_size=16, seed=0, num_batches=1)[0]


@pytest.fixture
def config(config):
    """A network of several stages, since they are what is sharded, repeated and observed here."""
    config.model.update({'num_steps': 2, 'blocks': None, 'widths': None, 'strides': None})
    return config


@pytest.mark.parametrize(
    ('microbatches', 'fsdp', 'scan'),
    [(1, 1, False), (2, 1, False), (1, 8, False), (2, 4, False), (1, 8, True)],
)
def test_a_sharded_step_moves_nothing_but_gradients_moments_and_shared_parameters(
    config, batch, microbatches, fsdp, scan
):
    config.microbatches = microbatches
    if scan:
        config.model.update({'name': 'ms_resnet20', 'scan_layers': 'true'})
    program = program_of(config, make_mesh(fsdp=fsdp), steps_per_epoch=10)
    state = program.abstract_state()
    lowered = program.train_step.lower(state, program.abstract_batch(batch))
    compiled = lowered.compile().as_text()
    collectives = set(
        re.findall(
            r' (all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|'
            r'reduce-scatter|ragged-all-to-all)(?:-start)?\(',
            compiled,
        )
    )
    shared = [leaf for leaf in jax.tree.leaves(state.params) if not is_whole(leaf)]
    if fsdp == 1:
        assert collectives == {'all-reduce'}
        assert not shared
    else:
        # XLA has no pass for CPUs that makes one of a reduction and the choice of a part.
        assert collectives == {'all-reduce', 'all-gather'}
        # Every kernel is gathered once.
        _, gathered = count_collectives(compiled)['all-gather']
        assert gathered == sum(4 * leaf.size for leaf in shared)
    # Gradients, and for each normalization some numbers a channel: no activations.
    _, reduced = count_collectives(compiled)['all-reduce']
    assert reduced < 1.2 * sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    # Each device has two of the sixteen images: two time steps of them are folded into four.
    images = {int(n) for n in re.findall(r'= f32\[(\d+),8,8,16\]\S* convolution\(', compiled)}
    assert images <= {2 // microbatches, 4 // microbatches}
    assert images


def is_whole(leaf):
    return leaf.sharding.is_fully_replicated


@pytest.mark.parametrize('fsdp', [1, 4])
def test_eight_devices_train_as_one_does(config, batch, fsdp):
    states, sums = [], []
    for mesh in (make_mesh(jax.devices()[:1]), make_mesh(fsdp=fsdp)):
        program = program_of(config, mesh, steps_per_epoch=10)
        state, step_sums = program.train_step(
            program.init(), put_batch(batch, program.batch_sharding)
        )
        states.append(jax.device_get(state))
        sums.append(jax.device_get(step_sums))
    chex.assert_trees_all_close(*states, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(*sums, rtol=1e-4)
    assert states[0].step == 1


def test_shared_parameters_are_stored_once(config):
    config.ema_decay = 0.5
    state = program_of(config, make_mesh(fsdp=8), steps_per_epoch=10).init()
    kernels = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim > 1]
    # Parameters, momentum and average.
    assert len(kernels) == 3 * len([k for k in jax.tree.leaves(state.params) if k.ndim > 1])
    for kernel in kernels:
        assert {shard.data.size for shard in kernel.addressable_shards} == {kernel.size // 8}
    assert all(is_whole(leaf) for leaf in jax.tree.leaves(state) if leaf.ndim < 2)


@pytest.mark.parametrize(('devices', 'fsdp'), [(8, 1), (4, 4), (1, 1)])
def test_a_checkpoint_of_shared_parameters_fits_other_devices(config, tmp_path, devices, fsdp):
    program = program_of(config, make_mesh(fsdp=4), steps_per_epoch=10)
    state = program.init()
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state, {'skipped': 3})
    other = program_of(config, make_mesh(jax.devices()[:devices], fsdp), steps_per_epoch=10)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        restored, position = checkpoints.restore(1, other.abstract_state())
    assert position == {'skipped': 3}
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(state))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, restored)
    assert shardings == other.state_sharding


def test_evaluation_counts_every_image_once(config):
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    state = program.init()
    split = open_dataset(DataOptions(name='digits')).load('test')
    whole = evaluate(program, state.evaluated, split, 360, config.data)
    # The last batch has 360 - 3 * 104 = 48 images and 56 of padding.
    padded = evaluate(program, state.evaluated, split, 104, config.data)
    assert whole.keys() == {'eval/loss', 'eval/accuracy', 'eval/firing_rate'}
    np.testing.assert_allclose(
        [padded[key] for key in whole], [whole[key] for key in whole], rtol=1e-5
    )
    assert padded['eval/accuracy'] == whole['eval/accuracy']


def test_missing_images_do_not_count(config, batch):
    """Neither in the gradient nor in the metrics, whatever is in their places."""
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    mask = np.arange(16) % 4 != 1
    results = []
    for filling in (0, 255):
        images = np.where(mask[:, None, None, None], batch['image'], np.uint8(filling))
        masked = batch | {'image': images, 'mask': mask}
        state, sums = program.train_step(program.init(), put_batch(masked, program.batch_sharding))
        results.append(jax.device_get((state, sums)))
    chex.assert_trees_all_equal(*results)
    assert results[0][1]['images'] == 12


def test_a_batch_of_nothing_but_missing_images_leaves_numbers(config, batch):
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    masked = batch | {'mask': np.zeros(16, bool)}
    state, sums = program.train_step(program.init(), put_batch(masked, program.batch_sharding))
    chex.assert_tree_all_finite(jax.device_get((state.params, state.batch_stats)))
    assert sums['images'] == 0


def test_mixed_images_have_both_labels(config, batch):
    """The loss is linear in the targets: that of two labels lies between theirs."""
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    other = (batch['label'] + 1) % 10
    losses = {}
    for weight in (1.0, 0.25, 0.0):
        weights = np.full(16, weight, np.float32)
        mixed = batch | {'mixed_label': other, 'label_weight': weights}
        _, sums = program.train_step(program.init(), put_batch(mixed, program.batch_sharding))
        losses[weight] = float(sums['loss'])
    np.testing.assert_allclose(losses[0.25], 0.25 * losses[1.0] + 0.75 * losses[0.0], rtol=1e-5)
    assert losses[0.0] != losses[1.0]


def test_a_loss_of_steps_gets_the_logits_of_every_step(config, batch):
    config.loss = 'tet'
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    variables = program.init().variables
    variables['params'] = jax.tree.map(lambda leaf: 3 * leaf, variables['params'])  # They fire.
    masked = put_batch(batch | {'mask': np.ones(16, bool)}, program.batch_sharding)
    sums = program.eval_step(variables, masked)
    dataset = open_dataset(DataOptions(name='digits'))
    images = normalize(jnp.asarray(batch['image']), dataset)
    model = program.model.clone(step_logits=True)
    logits = jax.jit(model.apply)(variables, images)
    assert logits.shape == (16, config.model.num_steps, 10)
    labels = np.broadcast_to(batch['label'][:, None], logits.shape[:2])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(sums['loss'], losses.mean(1).sum(), rtol=1e-4)
    correct = logits.mean(1).argmax(-1) == batch['label']
    assert sums['correct'] == correct.sum()
    # The steps do differ, and the classifier is linear.
    assert np.abs(logits[:, 0] - logits[:, 1]).max() > 1e-3
    mean = jax.jit(program.model.apply)(variables, images)
    np.testing.assert_allclose(logits.mean(1), mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('plif_nmnist', {'channels': (8, 8), 'hidden': (16,)}),
        ('ta_snn', {'channels': (8, 8), 'pools': (2, 4), 'hidden': (16,)}),
    ],
)
def test_networks_of_rates_learn(config, batch, name, options):
    """The loss of the same images falls, and every parameter takes part."""
    config.model.update({'name': name, 'num_steps': 6, **options})
    config.loss = 'mse'
    config.optimizer.update({'name': 'adam', 'learning_rate': 0.03, 'weight_decay': 0.0})
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    state = program.init()
    before = jax.device_get(state.params)
    placed = put_batch(batch, program.batch_sharding)
    losses = []
    for _ in range(16):
        state, sums = program.train_step(state, placed)
        losses.append(float(sums['loss']) / 16)
    assert min(losses[8:]) < 0.9 * losses[0]
    for path, leaf in jax.tree.leaves_with_path(jax.device_get(state.params)):
        old = functools.reduce(lambda tree, key: tree[key.key], path, before)
        assert np.any(leaf != old), jax.tree_util.keystr(path)


@pytest.mark.parametrize('num_devices', [1, 4])
def test_microbatches_add_up(config, batch, num_devices):
    """To the mean of the gradients of each, with the statistics of each."""
    config.optimizer.momentum = 0.0
    config.optimizer.weight_decay = 0.0
    mesh = make_mesh(jax.devices()[:num_devices])
    whole = program_of(config, mesh, steps_per_epoch=10)
    config.microbatches = 2
    program = program_of(config, mesh, steps_per_epoch=10)
    before = jax.device_get(program.init())
    state, sums = program.train_step(program.init(), put_batch(batch, program.batch_sharding))

    # Each device computes the first half of its images first.
    first = (np.arange(16) // (8 // num_devices)) % 2 == 0
    deltas, stats, expected_sums = [], before.batch_stats, []
    for part in (first, ~first):
        half = {key: value[part] for key, value in batch.items()}
        start = jax.device_put(before._replace(batch_stats=stats), whole.state_sharding)
        after, part_sums = whole.train_step(start, put_batch(half, whole.batch_sharding))
        stats = jax.device_get(after.batch_stats)
        deltas.append(jax.tree.map(np.subtract, jax.device_get(after.params), before.params))
        expected_sums.append(jax.device_get(part_sums))
    expected = jax.tree.map(lambda p, a, b: p + (a + b) / 2, before.params, *deltas)
    chex.assert_trees_all_close(jax.device_get(state.params), expected, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(jax.device_get(state.batch_stats), stats, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(
        jax.device_get(sums), jax.tree.map(np.add, *expected_sums), rtol=1e-5
    )


@pytest.mark.parametrize('skipped', [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])
def test_images_count_alike_in_every_microbatch(config, batch, skipped):
    """The first of two parts has no image, or all but one image of a batch are skipped.

    The gradient of the classifier's bias needs no statistics, and is the same in one part and two.
    """
    config.optimizer.update({'momentum': 0.0, 'weight_decay': 0.0})
    config.batch_size = 8
    masked = {key: value[:8] for key, value in batch.items()}
    masked['mask'] = ~np.isin(np.arange(8), skipped)
    biases = []
    for microbatches in (1, 2):
        config.microbatches = microbatches
        program = program_of(config, make_mesh(jax.devices()[:1]), steps_per_epoch=10)
        state = program.init()
        # Logits of zero for all images, whatever the neurons do.
        classifier = state.params['classifier']
        state.params['classifier'] = jax.tree.map(jnp.zeros_like, classifier)
        state, sums = program.train_step(state, put_batch(masked, program.batch_sharding))
        assert sums['images'] == 8 - len(skipped)
        biases.append(np.asarray(state.params['classifier']['bias']))
    assert np.abs(biases[0]).max() > 1e-3
    np.testing.assert_allclose(biases[1], biases[0], rtol=1e-5, atol=1e-8)


def test_64_bit_mode_trains_float32_and_its_checkpoints_fit_both_modes(config, batch, tmp_path):
    config.optimizer.name = 'adam'
    config.ema_decay = 0.5

    def step(state=None):
        program = program_of(config, make_mesh(jax.devices()[:1]), steps_per_epoch=10)
        state = state or program.init()
        state, _ = program.train_step(state, put_batch(batch, program.batch_sharding))
        return program, state

    with jax.enable_x64(True):
        _, state = step()
        floats = [
            leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)
        ]
        assert {leaf.dtype for leaf in floats} == {np.dtype('float32')}
        with Checkpoints(tmp_path, keep=1) as checkpoints:
            checkpoints.save(1, state, {})
    program, expected = step()
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        restored, _ = checkpoints.restore(1, program.abstract_state())
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, restored)
    assert dtypes == jax.tree.map(lambda leaf: leaf.dtype, expected)
    chex.assert_trees_all_close(restored.params, expected.params, rtol=1e-3, atol=1e-4)
    with jax.enable_x64(True):
        _, after = step(restored)
        assert after.step == 2


def test_a_step_needs_no_promotion_of_dtypes_or_ranks(config, batch):
    config.optimizer.update({'name': 'adam', 'grad_clip_norm': 1.0, 'warmup_epochs': 0.5})
    config.update({'ema_decay': 0.9, 'gradient_norms': True, 'label_smoothing': 0.1})
    mixed = {'mixed_label': batch['label'], 'label_weight': np.ones(16, np.float32)}
    with jax.numpy_dtype_promotion('strict'), jax.numpy_rank_promotion('raise'):
        program = program_of(config, make_mesh(), steps_per_epoch=10)
        state = program.abstract_state()
        for extra in ({}, {'mask': np.ones(16, bool)}, mixed):
            jax.eval_shape(program.train_step, state, program.abstract_batch(batch | extra))
        whole = program.abstract_batch(batch | {'mask': np.ones(16, bool)})
        jax.eval_shape(program.eval_step, state.variables, whole)
        assert program.schedule(3) > 0


def test_the_average_of_the_weights_is_what_is_evaluated(config, batch):
    config.ema_decay = 0.75
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    placed = put_batch(batch, program.batch_sharding)
    state = program.init()
    average = jax.device_get(state.average)
    for _ in range(2):
        state, _ = program.train_step(state, placed)
        new = jax.device_get({'params': state.params, 'batch_stats': state.batch_stats})
        average = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, average, new)
    chex.assert_trees_all_close(jax.device_get(state.average), average, rtol=1e-5, atol=1e-7)
    masked = placed | put_batch({'mask': np.ones(16, bool)}, program.batch_sharding)
    ours = program.eval_step(state.evaluated, masked)
    chex.assert_trees_all_close(
        jax.device_get(ours), jax.device_get(program.eval_step(state.average, masked))
    )
    assert ours['loss'] != program.eval_step(state.variables, masked)['loss']


@pytest.mark.parametrize(('microbatches', 'scan'), [(1, 'false'), (2, 'false'), (1, 'true')])
def test_the_norms_of_the_gradient_are_in_the_sums(config, batch, microbatches, scan):
    config.model.update({'name': 'ms_resnet20', 'scan_layers': scan})
    config.gradient_norms = True
    config.microbatches = microbatches
    config.optimizer.update({'momentum': 0.0, 'weight_decay': 0.0, 'learning_rate': 0.5})
    program = program_of(config, make_mesh(), steps_per_epoch=10)
    before = program.init()
    params = jax.device_get(before.params)
    after, sums = program.train_step(before, put_batch(batch, program.batch_sharding))
    # A step of plain gradient descent is the gradient, times its rate.
    moved = jax.tree.map(lambda a, b: (a - b) / 0.5, params, jax.device_get(after.params))
    norms = {block: float(norm) / 16 for block, norm in sums['gradient_norms'].items()}
    moved = unstack_layers({'params': moved})['params']
    for block, place in {
        'stem': moved['stem'],
        'stage2/block1': moved['stage2']['block1'],
        'stage2/block3': moved['stage2']['block3'],
        'classifier': moved['classifier'],
    }.items():
        assert norms[block] == pytest.approx(float(optax.tree.norm(place)), rel=1e-3)
