import json
import re
import shutil

import pytest

from snnjax.analysis.runs import read_table
from snnjax.tools import evaluate
from snnjax.train.loop import train
from snnjax.train.metric_writer import read_metrics


def test_a_run_gets_the_accuracy_that_it_measured_itself(digits_run, capsys):
    path, _ = digits_run
    arguments = [f'--weights={path}', '--dataset=digits', '--batch_size=360']
    assert evaluate.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith('ms_resnet8, T=2; digits: 360 test examples\n')
    measured = read_metrics(path)[-1]['eval/accuracy']
    assert re.search(r'^accuracy: (.*)$', out, re.MULTILINE)[1] == f'{measured:.4f}'


def test_other_numbers_of_time_steps_in_a_table(digits_run, tmp_path, capsys):
    path, _ = digits_run
    table = tmp_path / 'results.csv'
    common = [f'--weights={path}', '--dataset=digits', '--batch_size=360', f'--csv={table}']
    for num_steps in (3, 2):
        assert evaluate.main([*common, f'--num_steps={num_steps}']) == 0
    three, two = read_table(table)
    rate = float(re.search(r'^firing rate: (.*)$', capsys.readouterr().out, re.MULTILINE)[1])
    assert (three['num_steps'], two['num_steps']) == (3, 2)
    assert three['model'] == two['model'] == 'ms_resnet8'
    assert two['images'] == 360
    assert two['accuracy'] == read_metrics(path)[-1]['eval/accuracy']
    assert three['firing_rate'] != two['firing_rate']
    assert rate == pytest.approx(three['firing_rate'], abs=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--dataset=digit'], "unknown data set 'digit'; did you mean digits"),
        (['--dataset=digits', '--weights=nowhere'], 'nowhere has no weights'),
        (['--dataset=digits', '--batch_size=7'], 'a multiple of the 8 devices'),
        (['--dataset=cifar10', '--data_dir=nowhere'], 'snnjax.tools.prepare cifar10'),
    ],
)
def test_what_cannot_be_evaluated_is_refused(digits_run, arguments, message, capsys):
    path, _ = digits_run
    assert evaluate.main([f'--weights={path}', *arguments]) == 2
    assert message in capsys.readouterr().err


def test_training_starts_from_the_weights_of_a_run(digits_run, tmp_path, capsys):
    path, config = digits_run
    config = config.copy_and_resolve_references()
    config.init_from = str(path)
    config.optimizer.learning_rate = 1e-9
    assert train(config, tmp_path).finished
    assert f'weights from {path}' in capsys.readouterr().out
    before, after = read_metrics(path)[-1], read_metrics(tmp_path)[-1]
    # Only the running statistics go on moving.
    assert abs(before['eval/loss'] - after['eval/loss']) < 0.2
    assert after['eval/accuracy'] > before['eval/accuracy'] - 0.05


def test_the_configuration_of_an_older_version_is_completed(digits_run, tmp_path, capsys):
    run = shutil.copytree(digits_run[0], tmp_path / 'run')
    older = {'model': {'name': 'ms_resnet8'}, 'data': {'name': 'digits', 'split': 'official'}}
    (run / 'config.json').write_text(json.dumps(older))
    assert evaluate.main([f'--weights={run}', '--dataset=digits', '--batch_size=360']) == 0
    assert 'checkpoint of step 35' in capsys.readouterr().out


def test_the_checkpoint_that_is_named_is_evaluated(digits_run, tmp_path, capsys):
    run = shutil.copytree(digits_run[0], tmp_path / 'run')
    # Another one, newer and worse.
    shutil.copytree(run / 'checkpoints' / '35', run / 'checkpoints' / '40')
    metrics = run / 'checkpoints' / '40' / 'metrics' / 'metrics'
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {'eval/accuracy': 0.0}))
    steps = []
    for checkpoint in ('best', '40', 'newest', '35'):
        arguments = [f'--weights={run}', f'--checkpoint={checkpoint}', '--batch_size=360']
        assert evaluate.main([*arguments, f'--csv={tmp_path}/results.csv']) == 0
        steps += re.findall(r'^checkpoint of step (\d+)$', capsys.readouterr().out, re.MULTILINE)
    assert steps == ['35', '40', '40', '35']
    assert [row['step'] for row in read_table(tmp_path / 'results.csv')] == [35, 40, 40, 35]
