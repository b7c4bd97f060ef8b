import io
import itertools

import numpy as np
import pytest
from PIL import Image

from snnjax.data import ArraySplit, DataOptions, open_dataset
from snnjax.data.pipeline import EvaluationBatches, TrainingBatches
from snnjax.tools.prepare import main as prepare


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


def test_a_large_seed_draws_what_no_small_one_does(split):
    """To NumPy, the word 1 or 2 in the upper half of a seed looks like a stream."""
    for stream in (1, 2):
        large = make(split, seed=stream * 2**32, mixup=0.2).recipe(0)
        small = make(split, seed=0, mixup=0.2).recipe(stream)
        assert (large['offset'] != small['offset']).any()
        assert (large['mix_weight'] != small['mix_weight']).any()


@pytest.mark.parametrize('start', [0, 3, 19, 20])
def test_iteration_can_start_anywhere(split, start):
    batches = make(split)
    assert_same(batches.iterate(start), [batches[n] for n in range(start, 20)])


@pytest.mark.parametrize('count', [2, 3, 4])
def test_processes_share_the_batch_of_one(split, count):
    shares = [make(split, process_index=i, process_count=count)[6] for i in range(count)]
    together = {key: np.concatenate([share[key] for share in shares]) for key in shares[0]}
    assert_same([together], [make(split)[6]])


@pytest.mark.parametrize('count', range(1, 9))
@pytest.mark.parametrize('share', [1, 3, 13])
def test_evaluation_has_every_image_once(split, share, count):
    batch_size, counted = share * count, []
    steps = set()
    for i in range(count):
        batches = list(
            EvaluationBatches(split, batch_size, process_index=i, process_count=count).iterate()
        )
        steps.add(len(batches))
        for batch in batches:
            assert len(batch['image']) == len(batch['label']) == share
            real = batch['mask']
            np.testing.assert_array_equal(batch['image'][real], split.images[batch['label'][real]])
            counted += batch['label'][real].tolist()
    assert sorted(counted) == list(range(50))
    assert len(steps) == 1


class SavedSplit:
    """Prepared photos and recordings of events, as training has them."""

    def __init__(self, folder, kind):
        self.options = {
            'photos': DataOptions(
                'mine',
                str(folder),
                image_size=16,
                crop_scale=0.3,
                flip=True,
                auto_augment='imagenet',
                random_erasing=0.3,
            ),
            'events': DataOptions(
                'mine', str(folder), crop_padding=2, crop_scale=0.5, flip=True, event_drop=0.4
            ),
        }[kind]
        source = folder / 'source'
        for split, count in (('train', 14), ('test', 7)):
            for i in range(2 * count):
                path = source / split / 'ab'[i % 2] / f'{i}.{"png" if kind == "photos" else "bin"}'
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(make_photo(i) if kind == 'photos' else make_recording(i))
        dataset = {'photos': 'folder', 'events': 'events_folder'}[kind]
        command = [dataset, '--name=mine', f'--source={source}', f'--data_dir={folder}']
        assert prepare(command) == 0

    def load(self, split):
        return open_dataset(self.options, num_steps=3).load(split)


def make_photo(number):
    rng = np.random.default_rng(number)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(stream, 'PNG')
    return stream.getvalue()


def make_recording(number):
    rng = np.random.default_rng(number)
    place, time = rng.integers(0, 34, (300, 2)), np.arange(300)
    columns = [place, rng.integers(0, 2, (300, 1)) << 7, time[:, None] >> 8, time[:, None] & 255]
    return np.concatenate(columns, 1).astype(np.uint8).tobytes()


@pytest.fixture(scope='module', params=['photos', 'events'])
def saved(request, tmp_path_factory):
    return SavedSplit(tmp_path_factory.mktemp(request.param), request.param)


def make_saved(saved, **changes):
    options = {'batch_size': 8, 'seed': 3, 'num_batches': 9, 'mixup': 0.2, 'cutmix': 1.0}
    return TrainingBatches(saved.load('train'), **options | changes)


@pytest.mark.parametrize('start', [0, 5])
def test_worker_processes_make_the_same_batches(saved, start):
    expected = [make_saved(saved)[number] for number in range(start, 9)]
    assert len({batch['image'].tobytes() for batch in expected}) == 9 - start
    for workers in (0, 2):
        assert_same(make_saved(saved).iterate(start, workers), expected)


@pytest.mark.parametrize('count', [1, 2, 4])
def test_processes_together_have_one_epoch(saved, count):
    shares = [
        make_saved(saved, mixup=0.0, cutmix=0.0, process_index=i, process_count=count)
        for i in range(count)
    ]
    assert shares[0].per_epoch == 3
    whole = make_saved(saved, mixup=0.0, cutmix=0.0)
    for number in range(6):
        parts = [share[number] for share in shares]
        together = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        assert_same([together], [whole[number]])
    orders = [np.concatenate([whole._order(e)[: 3 * 8]]) for e in (0, 1)]
    assert len(set(orders[0])) == len(set(orders[1])) == 24
    assert (orders[0] != orders[1]).any()


@pytest.mark.parametrize('count', [1, 2, 4])
def test_mixing_pairs_the_images_of_one_process(saved, count):
    whole = make_saved(saved)[4]
    parts = [make_saved(saved, process_index=i, process_count=count)[4] for i in range(count)]
    together = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    assert_same([together], [whole])


def test_worker_processes_evaluate_every_example_once(saved):
    split = saved.load('test')
    expected = list(EvaluationBatches(split, 4).iterate())
    assert sum(batch['mask'].sum() for batch in expected) == 14
    assert_same(EvaluationBatches(split, 4).iterate(workers=2), expected)
