import json

import pytest

from snnjax.analysis.runs import read_table
from snnjax.tools import energy, isometry, similarity, time_steps
from snnjax.train.metric_writer import read_metrics


def test_energy_of_a_run(digits_run, tmp_path, capsys):
    path = tmp_path / 'energy.json'
    assert energy.main([f'--weights={digits_run[0]}', f'--json={path}', '--batch_size=360']) == 0
    out = capsys.readouterr().out
    assert 'compute only' in out
    measured = json.loads(path.read_text())
    paper = measured['energy_by_mean_rate']
    rate = 1 - measured['activation_sparsity']
    assert paper['syops'] == pytest.approx(paper['macs'] * 2 * rate)
    assert paper['snn_joules'] == pytest.approx(0.9e-12 * paper['syops'])
    layers = measured['energy_by_layer']
    joules = sum(layer['joules'] for layer in measured['layers'])
    assert layers['once']['snn_joules'] == pytest.approx(joules)
    assert layers['every_step']['snn_joules'] > layers['once']['snn_joules']
    operations = measured['synaptic_operations']
    # Padding is no operation, and only spikes are.
    assert operations['Effective_ACs'] < layers['once']['acs']
    # Parameters, and running statistics, in four bytes each.
    norms = 16 + 2 * 16 + 3 * 32 + 3 * 64
    assert measured['footprint'] == 4 * (77_754 + 2 * norms)


def test_the_tables_of_the_paper(capsys):
    assert energy.main(['--paper']) == 0
    out = capsys.readouterr().out
    assert '11.79 G assumes that the first convolution of a stage' in out
    assert 'compute only' in out


def test_similarity_of_weights(digits_run, tmp_path, capsys):
    figure, file = tmp_path / 'radar.png', tmp_path / 'similarity.json'
    arguments = ['--weights', str(digits_run[0]), '--images=16']
    assert similarity.main([*arguments, f'--figure={figure}', f'--json={file}']) == 0
    assert 'blocks with an SSIM of exactly 1 for every image: 0' in capsys.readouterr().out
    assert figure.read_bytes().startswith(b'\x89PNG')
    (blocks,) = json.loads(file.read_text())['blocks'].values()
    assert [block['block'] for block in blocks] == [
        'stage1/block1',
        'stage2/block1',
        'stage3/block1',
    ]


def test_isometry_of_initial_parameters(tmp_path, capsys):
    figure, file = tmp_path / 'isometry.png', tmp_path / 'isometry.json'
    arguments = ['--models', 'ms_resnet8', '--dataset=digits', '--num_steps=2']
    arguments += ['--images=8', '--probes=2', '--residual_scale=0.1']
    arguments += ['--set=blocks=1,1', '--set=widths=4,8', '--set=strides=1,2']
    assert isometry.main([*arguments, f'--figure={figure}', f'--json={file}']) == 0
    assert 'product of all' in capsys.readouterr().out
    assert figure.read_bytes().startswith(b'\x89PNG')
    (measured,) = json.loads(file.read_text()).values()
    assert len(measured['blocks']) == 2
    assert len(measured['gates']) == 5


ANN = ['--models', 'ann_resnet8', '--set=blocks=1', '--set=widths=4', '--set=strides=2']


@pytest.mark.parametrize(
    ('command', 'arguments', 'message'),
    [
        (isometry, [], 'give --weights or --models'),
        (similarity, ['--weights', 'nowhere'], 'nowhere has no weights'),
        (isometry, [*ANN, '--images=8', '--probes=2'], 'no spiking neurons'),
        (isometry, ['--models', 'ms_resnet8', '--images=400'], '360, the number of test examples'),
        (isometry, ['--models', 'ms_resnet9'], 'the nearest are ms_resnet8'),
        (energy, ['--weights=nowhere'], 'nowhere has no weights'),
    ],
)
def test_what_cannot_be_looked_at_is_refused(command, arguments, message, capsys):
    assert command.main([*arguments, '--dataset=digits']) == 2
    assert message in capsys.readouterr().err


def test_time_steps_of_a_run(digits_run, tmp_path, capsys):
    table, figure = tmp_path / 'steps.csv', tmp_path / 'steps.png'
    arguments = [f'--weights={digits_run[0]}', '--max_steps=3', '--batch_size=360']
    assert time_steps.main([*arguments, f'--csv={table}', f'--figure={figure}']) == 0
    rows = read_table(table)
    assert [row['num_steps'] for row in rows] == [1, 2, 3]
    assert figure.read_bytes().startswith(b'\x89PNG')
    # The run itself measured its accuracy at two.
    assert rows[1]['accuracy'] == pytest.approx(read_metrics(digits_run[0])[-1]['eval/accuracy'])
    for row in rows:
        expected = 737_280 * row['firing_rate'] * row['num_steps']
        assert row['syops'] == pytest.approx(expected)
        assert row['joules_by_layer'] > row['snn_joules']


def test_each_number_of_time_steps_is_told_as_soon_as_it_is_measured(
    digits_run, monkeypatch, capsys
):
    told = []

    def measure(trained):
        told.append(capsys.readouterr().out)
        return dict.fromkeys(
            ('accuracy', 'firing_rate', 'syops', 'snn_joules', 'joules_by_layer'), 0.5
        ) | {'num_steps': trained.num_steps}

    monkeypatch.setattr('snnjax.analysis.time_steps.measure_costs', measure)
    assert time_steps.main([f'--weights={digits_run[0]}', '--max_steps=3', '--images=16']) == 0
    told.append(capsys.readouterr().out)
    assert told[0].startswith('ms_resnet8, T=2; digits: 16 test examples\ncheckpoint of step 35\n')
    assert [text.split()[:2] for text in told[1:]] == [[str(t), '0.5000'] for t in (1, 2, 3)]


def test_networks_in_folders_of_one_name_are_told_apart(digits_run, tmp_path):
    folders = [tmp_path / name / 'run' for name in ('one', 'other')]
    for folder in folders:
        folder.parent.mkdir()
        folder.symlink_to(digits_run[0])
    file = tmp_path / 'similarity.json'
    arguments = ['--weights', *map(str, folders), '--images=16', f'--json={file}']
    assert similarity.main(arguments) == 0
    assert list(json.loads(file.read_text())['blocks']) == [
        'ms_resnet8, run',
        'ms_resnet8, run (2)',
    ]
