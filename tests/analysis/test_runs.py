import csv
import json
import multiprocessing
import os
import shutil

import pytest

from snnjax.analysis.runs import (
    RunError,
    add_row,
    depth_table,
    mean_test_accuracy,
    read_runs,
    read_table,
    summarize_run,
    write_table,
)
from snnjax.errors import ConfigError


def test_the_accuracy_is_the_mean_of_the_last_five_evaluations():
    records = [{'step': i, 'eval/accuracy': i / 10} for i in range(8)]
    assert mean_test_accuracy([{'train/accuracy': 1.0}, *records]) == (pytest.approx(0.5), 5)
    # Evaluations of an earlier phase are of another model.
    records[5]['extended/accuracy'] = 0.9
    assert mean_test_accuracy(records) == (pytest.approx(0.65), 2)
    with pytest.raises(ValueError, match='no evaluation'):
        mean_test_accuracy([])


def test_a_run_is_a_row(digits_run, tmp_path):
    row = summarize_run(digits_run[0])
    assert (row['family'], row['depth'], row['num_steps'], row['seed']) == ('ms_resnet', 8, 2, 0)
    assert (row['data'], row['epochs'], row['images']) == ('digits', 1, 1400)
    assert 0 < row['accuracy'] < 1
    row['commit'] = '1234567'  # As any commit may begin.
    write_table(tmp_path / 'table.csv', [row])
    assert read_table(tmp_path / 'table.csv') == [row]
    assert read_table(tmp_path / 'none.csv') == []


def test_the_depth_table_has_means_and_deviations_over_seeds():
    rows = [
        {'family': family, 'depth': depth, 'accuracy': accuracy}
        for family, depth, accuracy in [
            ('plain_net', 20, 0.5),
            ('plain_net', 8, 0.6),
            ('ms_resnet', 8, 0.61),
            ('ms_resnet', 8, 0.63),
        ]
    ]
    assert depth_table(rows).splitlines() == [
        '| depth       |          8 |   20 |',
        '| ----------- | ---------: | ---: |',
        '| `plain_net` |       60.0 | 50.0 |',
        '| `ms_resnet` | 62.0 ± 1.4 |      |',
    ]


TEXTS = [
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    '\tx',
    '\rx',
    '\n=x',
    '\uff1d1',
    "'=1",
    "'",
    "''",
    "'quoted'",
    '0010',
    '10',
    '1e5',
    'nan',
    ' 10',
    'a,"b"\nc',
    'é',
    os.fsdecode(b'caf\xe9'),
    '',
]


@pytest.mark.parametrize(
    'column', ['run', 'weights', 'arguments', 'model', 'data', 'commit', 'file', 'name']
)
def test_text_comes_back_as_it_was_and_is_no_formula(column, tmp_path):
    rows = [{column: text, 'accuracy': -0.5, 'seed': -1, 'loss': 1e-9} for text in TEXTS]
    write_table(tmp_path / 'table.csv', rows)
    for row in rows:
        add_row(tmp_path / 'added.csv', row)
    for name in ('table.csv', 'added.csv'):
        assert read_table(tmp_path / name) == rows
        with (tmp_path / name).open(newline='', errors='surrogateescape') as file:
            cells = [row[0] for row in csv.reader(file)][1:]
        assert not any(cell.startswith(tuple('=+-@\t\r\n\uff1d')) for cell in cells)
    # Numbers stay numbers, for spreadsheets too.
    assert ',-0.5,-1,1e-09' in (tmp_path / 'table.csv').read_text(errors='replace')


def test_tables_from_before_and_from_spreadsheets_are_read(tmp_path):
    path = tmp_path / 'table.csv'
    path.write_bytes(b"\xef\xbb\xbfrun,accuracy,depth\r\n-1,0.5,8\r\n'abc,0.25\r\n")
    assert read_table(path) == [
        {'run': '-1', 'accuracy': 0.5, 'depth': 8},
        {'run': "'abc", 'accuracy': 0.25, 'depth': ''},
    ]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('run,accuracy\na,1,2\n', 'row 1 has more cells'),
        ('run,accuracy\n"a,1\n', 'is not a CSV file'),
        ('accuracy\n1\n', 'row 1 names no run'),
        ('run,accuracy\na,1\n,1\n', 'row 2 names no run'),
    ],
)
def test_what_is_no_table_of_runs_is_refused(tmp_path, content, message):
    (tmp_path / 'table.csv').write_text(content)
    with pytest.raises(RunError, match=message):
        read_runs(tmp_path / 'table.csv')


def test_lines_of_other_columns_are_added_and_the_others_stay_as_they_are(tmp_path):
    path = tmp_path / 'table.csv'
    path.write_text('weights,note,accuracy\n0010,007,0.50\n')
    add_row(path, {'weights': '0020', 'accuracy': 0.25, 'skipped': 3})
    assert path.read_text() == 'weights,note,accuracy,skipped\n0010,007,0.50,\n0020,,0.25,3\n'


def add_rows(path, number, all_begin):
    all_begin.wait()
    for i in range(40):
        add_row(path, {'weights': f'{number}_{i}', f'c{number}': i})


def test_no_line_is_lost_if_several_processes_add_to_a_table(tmp_path):
    path = tmp_path / 'missing' / 'table.csv'
    context = multiprocessing.get_context('forkserver')
    all_begin = context.Barrier(3)
    processes = [
        context.Process(target=add_rows, args=(path, number, all_begin)) for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    rows = read_table(path)
    assert {row['weights'] for row in rows} == {f'{p}_{i}' for p in range(3) for i in range(40)}
    assert len(rows) == 120
    assert all(row[f'c{row["weights"][0]}'] == int(row['weights'][2:]) for row in rows)
    assert [file.name for file in path.parent.iterdir()] == ['table.csv']


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy of a run without its checkpoints."""
    return shutil.copytree(
        digits_run[0], tmp_path / 'run', ignore=shutil.ignore_patterns('checkpoints')
    )


@pytest.mark.parametrize('content', ['{"cut off', '[]', '{"model": {"name": 8}}', '[' * 100_000])
def test_a_damaged_configuration_is_said(run, content):
    (run / 'config.json').write_text(content)
    with pytest.raises(ConfigError, match=r'config\.json is damaged: put back a copy'):
        summarize_run(run)


def test_a_configuration_of_an_older_version_is_completed(run):
    expected = summarize_run(run)
    config = json.loads((run / 'config.json').read_text())
    kept = {key: config[key] for key in ('epochs', 'batch_size')}
    kept |= {'model': {'name': 'ms_resnet8', 'num_steps': 2}, 'data': {'name': 'digits'}}
    (run / 'config.json').write_text(json.dumps(kept))
    (run / 'environment.jsonl').unlink()
    assert summarize_run(run) == expected | {'commit': None}


def test_a_run_lacks_what_it_has_not_come_to(run):
    (run / 'metrics.jsonl').unlink()
    with pytest.raises(RunError, match='no evaluation among the metrics'):
        summarize_run(run)
    (run / 'config.json').unlink()
    with pytest.raises(RunError, match=r'has no config\.json'):
        summarize_run(run)


def test_columns_of_a_table_without_rows_stay(tmp_path):
    path = tmp_path / 'table.csv'
    path.write_text('weights,notes\n')
    add_row(path, {'weights': 'a', 'accuracy': 0.5})
    assert path.read_text() == 'weights,notes,accuracy\na,,0.5\n'
    path.write_text('a,a\n1,2\n')
    with pytest.raises(RunError, match='two columns of the same name'):
        add_row(path, {'a': 3})
