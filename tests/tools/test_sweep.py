import sys

import pytest

from snnjax.analysis.runs import read_table
from snnjax.tools import sweep
from snnjax.train.metric_writer import read_metrics
from tests import processes
from tests.conftest import ROOT
from tests.runs import TINY_ON_DIGITS

CONFIG = f'{ROOT}/configs/depth_analysis.py:setting=cpu,families=plain_net+ms_resnet,depths=8'
CHANGES = (
    '--config.data.name=digits --config.data.flip=false --config.data.crop_padding=1 '
    '--config.eval_batch_size=360 --config.log_every=4 --config.batch_size=200'
).split() + TINY_ON_DIGITS[1:]


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp('sweep')
    assert sweep.main([f'--config={CONFIG}', f'--workdir={path}', *CHANGES]) == 0
    return path


def test_every_run_is_a_row_and_there_are_figures(workdir):
    rows = read_table(workdir / 'results.csv')
    assert [row['run'] for row in rows] == ['plain_net8_seed0', 'ms_resnet8_seed0']
    assert [row['family'] for row in rows] == ['plain_net', 'ms_resnet']
    assert all(row['images'] == 1400 for row in rows)
    for name in ('depth.png', 'curves.png'):
        assert (workdir / name).read_bytes().startswith(b'\x89PNG')


def test_finished_runs_are_not_trained_again(workdir, monkeypatch, capsys):
    monkeypatch.setattr(sweep, '_run', lambda _: pytest.fail('trained again'))
    assert sweep.main([f'--config={CONFIG}', f'--workdir={workdir}', *CHANGES]) == 0
    assert '| `ms_resnet` | ' in capsys.readouterr().out


def test_a_row_of_another_setting_is_not_taken_for_this_one(workdir, capsys):
    changes = [*CHANGES, '--config.epochs=2']
    assert sweep.main([f'--config={CONFIG}', f'--workdir={workdir}', *changes]) == 2
    assert 'has plain_net8_seed0 with other arguments' in capsys.readouterr().err


def test_a_stopped_sweep_has_its_run_save_and_says_so(tmp_path):
    changes = [*CHANGES, '--config.epochs=1000']
    command = [sys.executable, '-m', 'snnjax.tools.sweep', f'--config={CONFIG}']
    run = tmp_path / 'plain_net8_seed0'
    with processes.started([*command, f'--workdir={tmp_path}', *changes], cwd=ROOT) as process:
        processes.wait_until(lambda: read_metrics(run), process)
        process.terminate()
        process.communicate(timeout=processes.HANG)
    assert process.returncode == 75
    assert list((run / 'checkpoints').iterdir())
    assert read_table(tmp_path / 'results.csv') == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--config=nowhere.py'], 'no config file nowhere.py'),
        ([f'--config={ROOT}/configs/digits.py'], 'has no function get_runs'),
        ([f'--config={CONFIG},depth=8'], "unknown config argument 'depth'; did you mean depths"),
        ([f'--config={CONFIG}', '--epochs=5'], "unknown argument '--epochs=5'"),
    ],
)
def test_what_is_no_sweep_is_refused(arguments, message, tmp_path, capsys):
    assert sweep.main([*arguments, f'--workdir={tmp_path}']) == 2
    assert message in capsys.readouterr().err


def test_the_paper_setting_is_the_default():
    assert len(sweep.get_runs(ROOT / 'configs/depth_analysis.py', '')) == 24
