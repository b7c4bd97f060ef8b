"""Commands about event streams: early answers, and table 4."""

import jax
import numpy as np
import pytest

from snnjax.analysis.early_answers import measure_early_answers
from snnjax.analysis.event_table import COLUMNS, event_table, read_rows
from snnjax.analysis.runs import RunError, read_table, write_table
from snnjax.analysis.trained import open_initial, open_trained
from snnjax.tools import early_answers, table4

SMALL = {'blocks': (1,), 'widths': (4,), 'pools': (1,), 'stem_width': 4}
ROLLOUT = """
from snnjax.train.config import default_config

def get_config(network='rollout', data='digits'):
    config = default_config()
    config.model.update({'name': 'rollout_densenet', 'num_steps': 5})
    config.model.update({'blocks': (1,), 'widths': (4,)})
    config.model.update({'pools': (1,), 'stem_width': 4, 'pooling': 'average'})
    config.data.name = data
    config.batch_size = 200
    config.eval_batch_size = 360
    config.epochs = 1
    return config

def get_runs(data='digits'):
    return {f'rollout_{name}_seed0': f'data={name}' for name in data.split('+')}
"""
DART = {'system': 'DART', 'dataset': 'digits', 'split': 'official', 'accuracy': 0.5}


def test_answers_begin_with_the_first_response_and_end_with_that_of_the_network():
    trained = open_initial(
        'rollout_densenet', {'name': 'digits'}, num_steps=6, options=SMALL, images=80
    )
    rows = measure_early_answers(trained)
    assert [row['num_steps'] for row in rows] == [3, 4, 5, 6]
    assert [row['share'] for row in rows] == [3 / 6, 4 / 6, 5 / 6, 1]
    assert {row['images'] for row in rows} == {80}
    assert {row['milliseconds'] for row in rows} == {None}
    assert rows[0]['accuracy'] == rows[0]['step_accuracy']
    assert rows[-1]['accuracy'] == pytest.approx(trained.evaluate()['eval/accuracy'])
    batch = trained.examples.examples(np.arange(80))
    steps = jax.jit(trained.model.clone(step_logits=True).apply)(
        trained.variables, trained.normalized(batch)
    )
    hits = np.argmax(np.asarray(steps[:, 4]), -1) == batch['label']
    assert rows[2]['step_accuracy'] == hits.mean()


def test_early_answers_of_a_run(digits_run, tmp_path, capsys):
    table, figure = tmp_path / 'early.csv', tmp_path / 'early.png'
    arguments = [f'--weights={digits_run[0]}', '--images=80', f'--csv={table}']
    assert early_answers.main([*arguments, f'--figure={figure}']) == 0
    rows = read_table(table)
    assert [row['num_steps'] for row in rows] == [1, 2]
    assert f'{rows[1]["accuracy"]:.4f}' in capsys.readouterr().out
    assert figure.read_bytes().startswith(b'\x89PNG')


def test_table_4_is_trained_converted_and_told(tmp_path, capsys):
    config, other = tmp_path / 'my_table.py', tmp_path / 'dart.csv'
    config.write_text(ROLLOUT)
    write_table(other, [DART, {**DART, 'dataset': 'nmnist'}])
    table, figure = tmp_path / 'table4.csv', tmp_path / 'table4.png'
    arguments = [f'--config={config}:data=digits+nmnist', f'--workdir={tmp_path / "runs"}']
    arguments += [f'--rows={other}', '--config.data.dir=nowhere']
    assert table4.main([*arguments, f'--csv={table}', f'--figure={figure}']) == 0
    output = capsys.readouterr().out
    assert 'no rows for nmnist: ' in output
    rows = read_table(table)
    assert [row['network'] for row in rows] == [
        *('rollout_densenet', 'rollout_densenet, converted', 'DART')
    ]
    assert {(row['dataset'], row['split']) for row in rows} == {('digits', 'official')}
    analog, converted, _ = rows
    assert analog['time_steps'] == converted['time_steps'] == 5
    assert converted['energy_mJ'] > 0
    assert '--method=rueckauer' in converted['command']
    folder = str(tmp_path / 'runs' / 'rollout_digits_seed0_converted')
    spiking = open_trained(folder, {'dir': 'nowhere'})
    assert spiking.model.rollout
    assert spiking.evaluate()['eval/accuracy'] == pytest.approx(converted['accuracy'], abs=1e-6)
    assert figure.read_bytes().startswith(b'\x89PNG')
    # What is there is not done again.
    assert table4.main(arguments) == 0
    assert 'starting a run' not in capsys.readouterr().out


def test_rows_of_other_systems_may_lack_what_these_have_not(tmp_path):
    path = tmp_path / 'dart.csv'
    write_table(path, [DART])
    (row,) = read_rows(path)
    assert list(row) == list(COLUMNS)
    *_, line = event_table([row]).splitlines()
    assert [cell.strip() for cell in line.split('|')[1:-1]] == [
        *('digits', 'DART', 'official', '-', '-', '50.0', '-'),
    ]
    write_table(path, [{**DART, 'accuracy': None}])
    with pytest.raises(RunError, match='row 1 has no accuracy'):
        read_rows(path)
    with pytest.raises(RunError, match='does not exist'):
        read_rows(tmp_path / 'none.csv')
