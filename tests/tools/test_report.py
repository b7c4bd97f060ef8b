import base64
import html
import json
import re
import shutil

import numpy as np
import pytest

from snnjax.tools import report
from snnjax.weights.folder import describe_weights, load_weights, save_weights

# Of a folder, a value or a class.
NAME = '<script>alert(1)<'


@pytest.fixture(scope='module')
def page(digits_run, tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'page.html'
    run = path.with_name(NAME)
    run.symlink_to(digits_run[0])
    assert report.main([str(run), '--images=100', f'--out={path}']) == 0
    return path.read_text()


def test_a_page_has_all_its_sections(page):
    assert re.findall('<h2>(.*?)</h2>', page) == [
        'Learning curves',
        'Gradient norms',
        'Firing rates',
        'Energy',
        'Similarity of blocks',
        'Confusion matrix',
        'Configuration',
    ]
    assert '100 test examples' in page
    assert 'compute only' in page


def test_a_page_needs_nothing_but_itself(page):
    images = re.findall('src="(.*?)"', page)
    assert len(images) == 6
    for image in images:
        prefix, _, data = image.partition(',')
        assert prefix == 'data:image/png;base64'
        assert base64.b64decode(data).startswith(b'\x89PNG')
    assert 'http' not in re.sub('<pre>.*?</pre>', '', page, flags=re.DOTALL)


def test_what_a_run_names_is_text_on_its_page(page, tmp_path):
    """Its folder, values of its configuration, and names of classes."""
    assert f'<title>ms_resnet8, {html.escape(NAME)}</title>' in page
    assert NAME not in page
    (tmp_path / 'config.json').write_text(json.dumps({'model': {NAME: NAME}}))
    (section,) = report._configuration(tmp_path)
    table = report._classes(np.ones((2, 2), int), [NAME, '"&'])
    for part in (section, table):
        assert '<script' not in part
        assert html.escape(NAME) in part


def test_a_folder_without_a_run_has_no_page(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 2
    assert 'has no weights' in capsys.readouterr().err


NAMES = ['<b>daisy</b>', '$rose^', '=tulip', *(f'flower {i}' for i in range(7))]


def test_classes_have_their_names(digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr('snnjax.analysis.trained.class_names', lambda options: NAMES)
    path = tmp_path / 'new folder' / 'page.html'
    assert report.main([str(digits_run[0]), '--images=100', f'--out={path}']) == 0
    page = path.read_text()
    for name in NAMES:
        assert f'<td>{html.escape(name)}</td>' in page
    assert '<b>daisy' not in page


def test_a_run_without_an_evaluation_has_a_page(digits_run, tmp_path, capsys):
    run = shutil.copytree(digits_run[0], tmp_path / 'run')
    (run / 'metrics.jsonl').write_text('{"step": 10, "epoch": 0.5}\n')
    (run / 'environment.jsonl').unlink()
    assert report.main([str(run), '--images=100', '--checkpoint=35']) == 0
    assert f'report: {run}/report.html' in capsys.readouterr().out
    page = (run / 'report.html').read_text()
    assert '<td>not evaluated yet</td>' in page
    assert '<td>epoch 0.5, step 10</td>' in page
    assert '<td>step 35</td>' in page
    assert 'Learning curves' not in page


def test_a_folder_of_weights_has_a_page_of_the_data_that_is_named(digits_run, tmp_path, capsys):
    run = str(digits_run[0])
    save_weights(tmp_path / 'weights', load_weights(run), *describe_weights(run))
    arguments = [str(tmp_path / 'weights'), '--images=100']
    assert report.main(arguments) == 2
    assert 'give --dataset' in capsys.readouterr().err
    assert report.main([*arguments, '--dataset=digits', '--data_dir=nowhere']) == 0
    page = (tmp_path / 'weights' / 'report.html').read_text()
    assert '100 test examples' in page
    assert 'Configuration' not in page


def test_what_is_damaged_is_said_before_the_work(digits_run, tmp_path, monkeypatch, capsys):
    measure = 'snnjax.analysis.activity.measure_activity'
    monkeypatch.setattr(measure, lambda trained: pytest.fail('measured'))
    run = shutil.copytree(digits_run[0], tmp_path / 'run')
    config = json.loads((run / 'config.json').read_text())
    (run / 'metrics.jsonl').write_text('{"cut off\n{}\n')
    assert report.main([str(run), '--images=100']) == 2
    assert 'metrics.jsonl, line 1 is damaged' in capsys.readouterr().err
    (run / 'config.json').write_text(json.dumps(config | {'data': {'name': 8}}))
    assert report.main([str(run), '--images=100']) == 2
    assert 'config.json is damaged' in capsys.readouterr().err
