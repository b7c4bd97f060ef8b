import itertools

import numpy as np
import pytest

from snnjax.data import ArraySplit
from snnjax.data.pipeline import EvaluationBatches, TrainingBatches


@pytest.fixture(scope='module')
def split():
    rng = np.random.default_rng(0)
    # The label is the image's number, so that it can be told which ones a batch has.
    images = rng.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    return ArraySplit(images, np.arange(50, dtype=np.int32), crop_padding=1, flip=True)


def make(split, **changes):
    options = {'batch_size': 12, 'seed': 3, 'num_batches': 20}
    return TrainingBatches(split, **options | changes)


def assert_same(batches, others):
    for ours, theirs in itertools.zip_longest(batches, others):
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_an_epoch_has_every_image_once_but_for_the_rest(split):
    batches = make(split)
    assert batches.per_epoch == 4
    epochs = [
        [label for n in range(4 * e, 4 * e + 4) for label in batches[n]['label']] for e in (0, 1)
    ]
    for labels in epochs:
        assert len(labels) == len(set(labels)) == 48
    assert epochs[0] != epochs[1]


def test_images_keep_their_labels(split):
    batch = make(ArraySplit(split.images, split.labels))[5]
    np.testing.assert_array_equal(batch['image'], split.images[batch['label']])


def test_a_batch_depends_on_seed_and_number_only(split):
    batches = make(split)
    later = [batches[n] for n in (7, 2)]
    assert_same(later, [make(split)[7], make(split)[2]])
    assert (make(split, seed=4)[7]['image'] != later[0]['image']).any()


@pytest.mark.parametrize('start', [0, 3, 19, 20])
def test_iteration_can_start_anywhere(split, start):
    batches = make(split)
    assert_same(batches.iterate(start), [batches[n] for n in range(start, 20)])


@pytest.mark.parametrize('count', [2, 3, 4])
def test_processes_share_the_batch_of_one(split, count):
    shares = [make(split, process_index=i, process_count=count)[6] for i in range(count)]
    together = {key: np.concatenate([share[key] for share in shares]) for key in shares[0]}
    assert_same([together], [make(split)[6]])


@pytest.mark.parametrize('count', [1, 2, 4])
@pytest.mark.parametrize('batch_size', [8, 12, 50 + 2])
def test_evaluation_has_every_image_once(split, batch_size, count):
    counted = []
    steps = set()
    for i in range(count):
        batches = list(
            EvaluationBatches(split, batch_size, process_index=i, process_count=count).iterate()
        )
        steps.add(len(batches))
        for batch in batches:
            assert len(batch['image']) == len(batch['label']) == batch_size // count
            real = batch['mask']
            np.testing.assert_array_equal(batch['image'][real], split.images[batch['label'][real]])
            counted += batch['label'][real].tolist()
    assert sorted(counted) == list(range(50))
    assert len(steps) == 1
