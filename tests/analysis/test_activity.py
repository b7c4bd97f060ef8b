import functools

import jax
import numpy as np
import pytest

from snnjax.analysis.activity import NeuronActivity, measure_activity
from snnjax.analysis.trained import open_initial, open_trained
from snnjax.train.sharding import make_mesh
from tests.runs import program_of


@pytest.fixture(scope='module')
def trained(digits_run):
    # The last batch is padded: 360 images are no multiple of 112.
    return open_trained(str(digits_run[0]), batch_size=112)


@pytest.fixture(scope='module')
def activity(trained):
    return measure_activity(trained)


@pytest.fixture(scope='module')
def outputs(trained):
    """What every module puts out for all images, as Flax itself tells it."""
    batch = trained.examples.examples(np.arange(360))
    apply = functools.partial(
        trained.model.apply, capture_intermediates=True, mutable=['intermediates']
    )
    logits, updates = jax.jit(apply)(trained.variables, trained.normalized(batch))
    return batch, np.asarray(logits), updates['intermediates']


def output_of(outputs, name):
    for part in name.split('/'):
        outputs = outputs[part]
    return np.asarray(outputs['__call__'][0])


def test_the_spikes_of_each_neuron_are_counted(activity, outputs):
    assert [layer.name for layer in activity.neurons][:2] == [
        'stage1/block1/spike1',
        'stage1/block1/spike2',
    ]
    assert len(activity.neurons) == 7
    for layer in activity.neurons:
        spikes = output_of(outputs[2], layer.name)
        assert layer.steps == 2 * 360
        np.testing.assert_array_equal(layer.spikes, spikes.sum(axis=(0, 1)).astype(int))


def test_the_overall_rate_and_accuracy_are_those_of_an_evaluation(trained, activity):
    evaluation = trained.evaluate()
    assert activity.firing_rate == pytest.approx(evaluation['eval/firing_rate'], rel=1e-5)
    assert activity.accuracy == pytest.approx(evaluation['eval/accuracy'], rel=1e-6)


def test_the_confusion_matrix_counts_every_image(activity, outputs):
    batch, logits, _ = outputs
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (batch['label'], logits.argmax(axis=-1)), 1)
    assert activity.images == 360
    np.testing.assert_array_equal(activity.confusion, expected)


@pytest.mark.parametrize(
    ('name', 'source', 'kernel', 'stride', 'features'),
    [
        ('stage1/block1/conv2/conv', 'stage1/block1/spike2', 3, 1, 16),
        ('stage2/block1/conv1/conv', 'stage2/block1/spike1', 3, 2, 32),
    ],
)
def test_operations_are_those_with_inputs_that_are_not_zero(
    activity, outputs, name, source, kernel, stride, features
):
    (layer,) = [layer for layer in activity.synapses if layer.name == name]
    spikes = output_of(outputs[2], source)
    side = kernel // 2
    padded = np.pad(spikes, [(0, 0), (0, 0), (side, side), (side, side), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    seen = windows[:, :, ::stride, ::stride].sum()
    assert layer.operations == pytest.approx(seen * features / 360, rel=1e-12)
    assert layer.input_rate == pytest.approx(spikes.mean(), rel=1e-6)


def test_dead_and_saturated_neurons():
    layer = NeuronActivity('spike', np.array([[[0, 3, 10, 10]]]), steps=10)
    assert (layer.dead, layer.saturated) == (1, 2)
    assert layer.firing_rate == pytest.approx(23 / 40)


def test_of_an_ann_positive_outputs_count():
    activity = measure_activity(open_initial('ann_resnet8', {'name': 'digits'}, images=40))
    assert 0.2 < activity.firing_rate < 0.8
    assert all(layer.steps == 40 for layer in activity.neurons)


def test_some_images_are_taken_at_even_distances():
    some = open_initial('ms_resnet8', {'name': 'digits'}, images=4)
    every = open_initial('ms_resnet8', {'name': 'digits'})
    np.testing.assert_array_equal(
        some.examples.examples(np.arange(4))['image'],
        every.examples.examples(np.array([0, 90, 180, 270]))['image'],
    )


def test_initial_parameters_are_those_that_a_run_begins_with(digits_run):
    config = digits_run[1]
    initial = open_initial('ms_resnet8', {'name': 'digits'}, num_steps=2, seed=config.seed)
    expected = program_of(config, make_mesh(), steps_per_epoch=10).init().variables
    jax.tree.map(np.testing.assert_array_equal, dict(initial.variables), expected)
