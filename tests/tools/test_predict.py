import csv
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import snnjax
from snnjax.analysis.inference import load
from snnjax.tools import evaluate, export, predict
from snnjax.train.metric_writer import read_metrics
from snnjax.weights.folder import open_weights, save_weights
from tests.weight_files import firing_variables


@pytest.fixture(scope='module')
def loaded(digits_run):
    return snnjax.load(digits_run[0])


@pytest.fixture(scope='module')
def digits():
    from snnjax.data import DataOptions, open_dataset

    return open_dataset(DataOptions(name='digits')).load('test').examples(np.arange(5))


@pytest.fixture(scope='module')
def photos(digits, tmp_path_factory):
    """A folder of the digits as photos, and what is no photo."""
    folder = tmp_path_factory.mktemp('photos')
    (folder / 'more').mkdir()
    for i, digit in enumerate(digits['image']):
        gray = np.round(digit[..., 0] * (255 / 16)).astype(np.uint8)
        Image.fromarray(gray).save(folder / ('more' if i > 2 else '') / f'{i}.png')
    (folder / 'notes.txt').write_text('no photo')
    (folder / '.hidden.png').write_text('no photo')
    return folder


def run(weights, *arguments):
    return predict.main([f'--weights={weights}', *map(str, arguments)])


def test_a_loaded_model_has_all_that_it_takes(loaded, digits):
    assert loaded.class_names == [str(digit) for digit in range(10)]
    assert loaded.num_steps == 2
    assert loaded.notes == []
    images = loaded.preprocess(digits['image'])
    np.testing.assert_allclose(images, (digits['image'] - 4.8834) / 6.0211, rtol=1e-5)
    logits = jax.jit(loaded.model.apply)(loaded.variables, images)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    # A batch that is filled up, and another.
    results = loaded.classify(digits['image'], batch_size=3)
    np.testing.assert_allclose([r.probabilities for r in results], expected, rtol=1e-4)
    for result in results:
        best = int(np.argmax(result.probabilities))
        assert (result.name, result.top[0].label) == (str(best), best)
        assert result.probability == result.probabilities[best]
        assert len(result.top) == 5
        assert 0 < result.firing_rate < 1
    # One by itself, with an axis or without.
    one = loaded.classify(digits['image'][0], batch_size=3)
    np.testing.assert_allclose(one[0].probabilities, expected[0], rtol=1e-4)
    assert loaded.classify([]) == []


def test_the_firing_rate_is_that_of_an_evaluation(loaded, digits_run):
    from snnjax.data import DataOptions, open_dataset

    test = open_dataset(DataOptions(name='digits')).load('test')
    examples = test.examples(np.arange(len(test)))
    results = loaded.classify(examples['image'], batch_size=360)
    last = read_metrics(digits_run[0])[-1]
    rates = [result.firing_rate for result in results]
    correct = [result.top[0].label for result in results] == examples['label']
    assert np.mean(rates) == pytest.approx(last['eval/firing_rate'], rel=1e-4)
    assert np.mean(correct) == pytest.approx(last['eval/accuracy'])


def test_photos_are_classified_as_their_pixels(loaded, digits, digits_run, photos, capsys):
    files = [photos / f'{i}.png' for i in range(3)]
    expected = loaded.classify(digits['image'][:3])
    assert run(digits_run[0], *files) == 0
    lines = capsys.readouterr().out.splitlines()
    for file, line, result in zip(files, lines, expected, strict=True):
        assert line.startswith(f'{file}: {result.name} {100 * result.probability:.1f} %, ')
        assert line.endswith(f'; firing rate {result.firing_rate:.4f}')


def test_a_folder_stands_for_its_photos(digits_run, photos, tmp_path, capsys):
    outputs = [f'--json={tmp_path / "new/x.json"}', f'--csv={tmp_path / "new/x.csv"}']
    assert run(digits_run[0], photos, '--batch_size=2', *outputs) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    found = json.loads((tmp_path / 'new/x.json').read_text())
    names = [str(photos / name) for name in ('0.png', '1.png', '2.png')]
    names += [str(photos / 'more' / name) for name in ('3.png', '4.png')]
    assert [one['file'] for one in found] == names
    assert found[0].keys() == {'file', 'predictions', 'firing_rate'}
    assert [guess.keys() for guess in found[0]['predictions']] == [
        {'class', 'label', 'probability'}
    ] * 5
    with (tmp_path / 'new/x.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == [one['predictions'][0]['class'] for one in found]


def test_json_can_be_printed(digits_run, photos, capsys):
    assert run(digits_run[0], photos / '0.png', '--json=-') == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['notes.txt'], 'notes.txt: not an image'),
        (['0.png', 'none.png'], 'none.png: no such file'),
        (['empty'], 'empty: no photos in this folder'),
        (['0.png', '--num_steps=0'], 'num_steps=0 must be at least 1'),
        (['0.png', '--batch_size=0'], '--batch_size=0 must be at least 1'),
        (['0.png', '--dataset=digit'], 'did you mean digits'),
        (['0.png', '--dataset=fake_imagenet'], 'in_channels=1'),
        (['0.png', '--checkpoint=7'], 'checkpoint'),
    ],
)
def test_what_cannot_be_classified_is_one_line(
    digits_run, photos, arguments, message, monkeypatch, capsys
):
    monkeypatch.chdir(photos)
    (photos / 'empty').mkdir(exist_ok=True)
    assert run(digits_run[0], *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith('error: ')
    assert error.count('\n') == 1


def test_class_names_of_ones_own_come_with_the_weights(digits_run, photos, tmp_path, capsys):
    shutil.copytree(digits_run[0], tmp_path / 'run')
    path = tmp_path / 'run/model.json'
    description = json.loads(path.read_text())
    names = ['=zero', 'one\x1b[31m', *map(str, range(2, 10))]
    path.write_text(json.dumps(description | {'classes': names}))
    assert load(tmp_path / 'run').class_names == names
    assert run(tmp_path / 'run', photos) == 0
    assert '\x1b' not in capsys.readouterr().out
    # They go into what is exported.
    out = tmp_path / 'exported'
    arguments = [f'--weights={tmp_path / "run"}', '--format=safetensors', f'--out={out}']
    assert export.main(arguments) == 0
    assert load(out).class_names == names


def test_runs_from_before_still_open(digits_run, photos, tmp_path, capsys):
    shutil.copytree(digits_run[0], tmp_path / 'run')
    path = tmp_path / 'run/model.json'
    description = json.loads(path.read_text())
    path.write_text(json.dumps({key: description[key] for key in ('name', 'options')}))
    loaded = load(tmp_path / 'run')
    assert loaded.preprocessing == load(digits_run[0]).preprocessing
    assert loaded.class_names == [str(digit) for digit in range(10)]


def test_an_exported_folder_is_evaluated_as_its_run(digits_run, tmp_path, capsys):
    out = tmp_path / 'exported'
    arguments = [f'--weights={digits_run[0]}', '--format=safetensors', f'--out={out}']
    assert export.main(arguments) == 0
    again = tmp_path / 'again'
    assert export.main([f'--weights={out}', '--format=safetensors', f'--out={again}']) == 0
    printed = []
    for weights in (digits_run[0], out, again):
        capsys.readouterr()
        assert evaluate.main([f'--weights={weights}', '--batch_size=360']) == 0
        printed.append([line for line in capsys.readouterr().out.splitlines() if ': 0.' in line])
    assert printed[0] == printed[1] == printed[2]
    assert any(line.startswith('accuracy: ') for line in printed[0])
    card = json.loads((again / 'model.json').read_text())
    assert card == json.loads((out / 'model.json').read_text())


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    """Weights that nothing is known of but the model."""
    path = tmp_path_factory.mktemp('foreign')
    for name, options in {
        'ms_resnet8': {'num_classes': 5, 'in_channels': 1, 'widths': (2, 3, 4)},
        'ms_resnet18': {'num_classes': 5, 'widths': (2, 2, 2, 2), 'blocks': (1, 1, 1, 1)},
    }.items():
        variables = firing_variables(snnjax.create_model(name, **options), 32)
        variables = jax.tree.map(jax.numpy.asarray, variables)
        save_weights(path / name, variables, name, options)
    return path


def test_photos_are_prepared_as_for_imagenet_if_nothing_is_said(foreign):
    loaded = load(foreign / 'ms_resnet18')
    assert loaded.preprocessing.shape == (224, 224, 3)
    assert loaded.preprocessing.resize == 256
    assert loaded.class_names == ['0', '1', '2', '3', '4']
    assert 'as for ImageNet' in loaded.notes[0]
    assert 'shown as numbers' in loaded.notes[1]


def test_what_is_not_known_has_to_be_said(foreign, photos, capsys):
    assert run(foreign / 'ms_resnet8', photos / '0.png') == 2
    assert 'does not say how to prepare images' in capsys.readouterr().err
    assert run(foreign / 'ms_resnet8', photos / '0.png', '--dataset=digits') == 0
    assert 'note: the class names are not known' in capsys.readouterr().err


def test_weights_without_time_steps_take_those_of_the_models(foreign, tmp_path, capsys):
    options = {'in_channels': 1, 'widths': (2, 3, 4)}
    model = snnjax.create_model('ms_resnet8', **options)
    variables = jax.tree.map(jax.numpy.asarray, firing_variables(model, 8))
    save_weights(tmp_path / 'w', variables, 'ms_resnet8', options)
    arguments = [f'--weights={tmp_path / "w"}', '--dataset=digits', '--images=8']
    assert evaluate.main(arguments) == 0
    out = capsys.readouterr().out
    assert 'ms_resnet8, T=6 (the weights do not say); digits' in out
    assert evaluate.main([*arguments, '--num_steps=6']) == 0
    again = capsys.readouterr().out
    assert again == out.replace(' (the weights do not say)', '')


def test_importing_the_package_is_light():
    import subprocess
    import sys

    code = 'import sys, snnjax; assert "jax" not in sys.modules; snnjax.load'
    subprocess.run([sys.executable, '-c', code], check=True)


def test_weights_and_model_are_those_of_the_run(loaded, digits_run):
    model, variables = open_weights(digits_run[0])
    assert loaded.model == model
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
