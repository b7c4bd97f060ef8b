"""The benchmark of event data in small: rendered recordings, files, builders, frames, batches."""

import numpy as np
import pytest

from benchmarks import event_pipeline, event_recordings
from benchmarks.event_recordings import CLASSES, Scene, render, to_aedat2, to_aedat3
from snnjax.data import DataOptions, open_dataset
from snnjax.data.sources.event_files import read_aedat2, read_aedat3
from snnjax.tools.prepare import main as prepare


def test_pixels_fire_as_their_brightness_changes():
    scene = Scene(label=3, classes=10, seed=0, seconds=0.1)
    events = render(scene)
    views = list(scene.views())
    assert len(events) > 1000
    assert np.all(np.diff(events.t) >= 0)
    assert events.t[-1] < 100_000
    # What the events add up to is less than a threshold away from what the camera sees at the end.
    steps = np.where(events.on, scene.threshold, -scene.threshold)
    change = np.zeros((128, 128))
    np.add.at(change, (events.y, events.x), steps)
    error = np.abs(views[-1] - views[0] - change)
    assert error.max() < scene.threshold * 1.001
    assert np.abs(change).max() > scene.threshold


@pytest.mark.parametrize(('write', 'read'), [(to_aedat2, read_aedat2), (to_aedat3, read_aedat3)])
def test_files_hold_the_events(write, read):
    events = render(Scene(0, 10, 1, seconds=0.05))
    back = read(write(events))
    for column in ('x', 'y', 'on', 't'):
        np.testing.assert_array_equal(getattr(back, column), getattr(events, column))


def test_sets_are_prepared_and_measured(tmp_path, capsys):
    source = tmp_path / 'source'
    total = event_recordings.write_cifar10_dvs(source, each=2, seconds=0.03)
    assert prepare(['cifar10_dvs', f'--source={source}', f'--data_dir={tmp_path}']) == 0
    options = DataOptions('cifar10_dvs', str(tmp_path), 'by_order')
    split = open_dataset(options, 2).load('train')
    files = sorted(source.rglob('*.aedat'))
    assert (len(split), len(files)) == (10, 20)
    framing = event_pipeline.measure_framing(files, '', rounds=1)
    assert framing['events'] == total
    assert set(framing['rounds']) == set(event_pipeline.framings())
    assert event_pipeline.measure_batches(tmp_path)['resume_same'] == 1
    assert 'M events/s of a core' in capsys.readouterr().out


def test_gestures_of_rendered_recordings_are_prepared(tmp_path):
    total = event_recordings.write_dvs_gesture(tmp_path / 'source', users=2, seconds=0.33)
    source = tmp_path / 'source'
    assert prepare(['dvs_gesture', f'--source={source}', f'--data_dir={tmp_path}']) == 0
    dataset = open_dataset(DataOptions('dvs_gesture', str(tmp_path)), 2)
    found = 0
    for name in ('train', 'test'):
        split = dataset.load(name)
        recordings, labels = split.recordings(np.arange(len(split)))
        assert labels.tolist() == list(range(11))
        found += sum(map(len, recordings))
    assert found == total
    assert len(CLASSES) == 10
