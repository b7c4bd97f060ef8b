import pytest

from snnjax.analysis.runs import (
    depth_table,
    mean_test_accuracy,
    read_table,
    summarise_run,
    write_table,
)


def test_the_accuracy_is_the_mean_of_the_last_five_evaluations():
    records = [{'step': i, 'eval/accuracy': i / 10} for i in range(8)]
    assert mean_test_accuracy([{'train/accuracy': 1.0}, *records]) == (pytest.approx(0.5), 5)
    # Evaluations of an earlier phase are of another model.
    records[5]['extended/accuracy'] = 0.9
    assert mean_test_accuracy(records) == (pytest.approx(0.65), 2)
    with pytest.raises(ValueError, match='no evaluation'):
        mean_test_accuracy([])


def test_a_run_is_a_row(digits_run, tmp_path):
    row = summarise_run(digits_run[0])
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
        '| depth | 8 | 20 |',
        '|---|--:|--:|',
        '| `plain_net` | 60.0 | 50.0 |',
        '| `ms_resnet` | 62.0 ± 1.4 |  |',
    ]
