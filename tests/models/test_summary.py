from snnjax import create_model
from snnjax.models.summary import summarize
from snnjax.tools import summary


def convolutions(name, shape=(16, 16, 3), **options):
    """What each convolution sees, and how often it runs, by its path."""
    layers = summarize(create_model(name, num_steps=4, **options), shape)
    return {
        '/'.join(layer.path).removesuffix('/conv'): (layer.input, layer.runs)
        for layer in layers
        if layer.kind == 'convolution'
    }


def test_residual_paths_of_ms_resnet_see_spikes_and_the_rest_real_values():
    for path, (seen, _) in convolutions('ms_resnet8').items():
        assert seen == ('spikes' if path[-5:] in ('conv1', 'conv2') else 'real'), path


def test_a_spiking_shortcut_sees_spikes():
    seen = convolutions('ms_resnet8', spiking_shortcut=True)
    assert seen['stage2/block1/shortcut'] == ('spikes', 4)
    assert seen['stem'] == ('real', 1)


def test_averaged_spikes_are_real_values():
    seen = convolutions('ms_resnet8', spiking_shortcut=True, avgpool_shortcut=True)
    assert seen['stage2/block1/shortcut'] == ('real', 4)


def test_vanilla_convolutions_all_see_spikes_but_the_stem():
    assert {
        path for path, (seen, _) in convolutions('vanilla_resnet8').items() if seen == 'real'
    } == {'stem'}


def test_without_inter_block_neurons_every_first_convolution_sees_real_values():
    seen = convolutions('wo_lif_resnet8')
    for stage in (1, 2, 3):
        assert seen[f'stage{stage}/block1/conv1'][0] == 'real'
        assert seen[f'stage{stage}/block1/conv2'][0] == 'spikes'


def test_what_comes_before_the_first_neurons_runs_once_for_a_static_image():
    layers = convolutions('ms_resnet18', (64, 64, 3))
    assert {path for path, (_, runs) in layers.items() if runs == 1} == {
        'stem',
        'stage1/block1/shortcut',
    }
    frames = convolutions('ms_resnet18', (4, 64, 64, 3))
    assert {runs for _, runs in frames.values()} == {4}


def test_an_ann_sees_an_image_once():
    assert {runs for _, runs in convolutions('ann_resnet8').values()} == {1}


def test_counts_layers_that_are_scanned_or_rematerialised():
    expected = summarize(create_model('ms_resnet20'), (32, 32, 3))
    assert (
        summarize(create_model('ms_resnet20', scan_layers=True, remat='blocks'), (32, 32, 3))
        == expected
    )


def test_the_command_lists_layers_and_totals(capsys):
    assert summary.main(['--model=ms_resnet20']) == 0
    out = capsys.readouterr().out
    assert 'parameters 272,474' in out
    assert "by the paper's convention (tables 5 and 10) 40,108,032" in out
    assert out.count('convolution ') == 21


def test_the_command_refuses_an_unknown_model(capsys):
    assert summary.main(['--model=ms_restnet20']) == 2
    assert 'did you mean' in capsys.readouterr().err
