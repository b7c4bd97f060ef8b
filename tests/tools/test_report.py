import base64
import re

import pytest

from snnjax.tools import report


@pytest.fixture(scope='module')
def page(digits_run, tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'page.html'
    assert report.main([str(digits_run[0]), '--images=100', f'--out={path}']) == 0
    return path.read_text()


def test_a_page_has_all_its_sections(page):
    assert re.findall('<h2>(.*?)</h2>', page) == [
        'Learning curves',
        'Gradient norms',
        'Firing rates',
        'Energy',
        'Similarity of blocks',
        'Confusion',
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


def test_a_folder_without_a_run_has_no_page(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 2
    assert 'has no weights' in capsys.readouterr().err
