import argparse

import numpy as np
import pytest

from snnjax import create_model
from snnjax.tools import import_torch
from snnjax.weights.folder import describe_weights, load_weights
from snnjax.weights.torch_state import to_state_dict
from tests.weights.test_torch_state import (
    SMALL,
    authors_state_dict,
    random_variables,
    sew_state_dict,
)

torch = pytest.importorskip('torch', reason="needs PyTorch: pip install 'snnjax[torch]'")

WIDTHS = (4, 5, 6, 7)


@pytest.fixture
def published(tmp_path):
    """A file like those that the authors publish, narrower."""
    arrays = authors_state_dict((2, 2, 2, 2), WIDTHS, 3)
    path = tmp_path / 'resnet18.pth'
    torch.save({f'module.{key}': torch.tensor(array) for key, array in arrays.items()}, path)
    return path, arrays


def run(path, out, *arguments):
    return import_torch.main(
        [str(path), '--model=ms_resnet18', f'--out={out}', f'--option=widths={WIDTHS}', *arguments]
    )


def test_the_authors_weights_become_a_folder_of_weights(published, tmp_path):
    path, arrays = published
    assert run(path, tmp_path / 'out') == 0
    name, options = describe_weights(tmp_path / 'out')
    assert (name, options['num_classes'], options['strict']) == ('ms_resnet18', 3, True)
    params = load_weights(tmp_path / 'out')['params']
    np.testing.assert_array_equal(
        params['stage1']['block1']['conv1']['conv']['kernel'],
        arrays['conv2_x.0.residual_function.1.weight'].transpose(2, 3, 1, 0),
    )


def test_our_own_names_need_not_be_strict(tmp_path):
    model = create_model('ms_resnet8')
    state_dict = to_state_dict(model, random_variables(model))
    path = tmp_path / 'ms_resnet8.pth'
    tensors = {key: torch.tensor(array) for key, array in state_dict.items()}
    torch.save({'state_dict': tensors, 'epoch': 7}, path)
    assert import_torch.main([str(path), '--model=ms_resnet8', f'--out={tmp_path / "out"}']) == 0
    assert describe_weights(tmp_path / 'out') == ('ms_resnet8', {'num_classes': 10})


@pytest.fixture(params=[True, False], ids=['containers', 'flat'])
def sew(request, tmp_path):
    """A file like those of SEW-ResNets, smaller."""
    arrays = sew_state_dict(**SMALL, containers=request.param)
    path = tmp_path / 'sew18.pth'
    torch.save({'model': {key: torch.tensor(array) for key, array in arrays.items()}}, path)
    return path, arrays


def run_sew(path, out, *arguments):
    sizes = [f'--option={key}={SMALL[key]}' for key in ('blocks', 'widths')]
    return import_torch.main([str(path), f'--out={out}', *sizes, *arguments])


def test_weights_of_sew_resnets_need_not_be_strict(sew, tmp_path):
    path, arrays = sew
    arguments = ['--model=sew_resnet18', '--option=kind=sew_and']
    assert run_sew(path, tmp_path / 'out', *arguments) == 0
    name, options = describe_weights(tmp_path / 'out')
    assert (name, options['num_classes'], options['kind']) == ('sew_resnet18', 3, 'sew_and')
    assert 'strict' not in options
    params = load_weights(tmp_path / 'out')['params']
    np.testing.assert_array_equal(params['classifier']['kernel'], arrays['fc.weight'].T)


def test_weights_of_sew_resnets_are_for_them_only(sew, tmp_path, capsys):
    path, _ = sew
    assert run_sew(path, tmp_path / 'out', '--model=ms_resnet18') == 2
    assert "are only for SEW-ResNets, such as sew_resnet34: kind='ms'" in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_weights_that_do_not_fit_are_refused_by_name(published, tmp_path, capsys):
    path, _ = published
    content = torch.load(path, weights_only=True)
    del content['module.conv1.1.bn.bias']
    content['module.extra'] = torch.zeros(1)
    torch.save(content, path)
    assert run(path, tmp_path / 'out') == 2
    message = capsys.readouterr().err
    assert 'missing: conv1.1.bn.bias' in message
    assert 'unexpected: extra' in message
    assert not (tmp_path / 'out').exists()


def test_arguments_of_a_training_script_may_be_in_the_file(sew, tmp_path):
    path, _ = sew
    content = torch.load(path, weights_only=True)
    torch.save(content | {'args': argparse.Namespace(lr=0.1, device='cuda')}, path)
    assert run_sew(path, tmp_path / 'out', '--model=sew_resnet18') == 0


class Payload:
    def __reduce__(self):
        return print, ('this must not run',)


def test_nothing_in_a_file_is_executed(tmp_path, capsys):
    path = tmp_path / 'evil.pth'
    torch.save({'weight': Payload()}, path)
    assert run(path, tmp_path / 'out') == 2
    out, err = capsys.readouterr()
    assert 'this must not run' not in out
    assert 'is not a checkpoint of tensors alone' in err


def test_nothing_among_the_arguments_is_executed_either(tmp_path, capsys):
    path = tmp_path / 'evil.pth'
    torch.save({'args': argparse.Namespace(lr=Payload())}, path)
    assert run(path, tmp_path / 'out') == 2
    assert 'this must not run' not in capsys.readouterr().out


@pytest.mark.parametrize('content', [[1, 2], {}, {'fc.weight': 'text'}])
def test_other_content_is_refused(content, tmp_path, capsys):
    path = tmp_path / 'other.pth'
    torch.save(content, path)
    assert run(path, tmp_path / 'out') == 2
    assert 'error: ' in capsys.readouterr().err


def test_a_file_that_is_cut_off_is_refused(published, tmp_path, capsys):
    path, _ = published
    path.write_bytes(path.read_bytes()[:5000])
    assert run(path, tmp_path / 'out') == 2
    assert 'is not a checkpoint' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--option=widths'], '--option=widths: write KEY=VALUE'),
        (['--option==3'], '--option==3: write KEY=VALUE'),
        (['--option=width=3'], "no option 'width'; did you mean widths"),
        (['--option=num_classes=ten'], "num_classes='ten' must be a whole number"),
        (['--option=num_classes=2.5'], 'num_classes=2.5 must be a whole number'),
        (['--option=num_classes=0'], 'num_classes=0 must be at least 1'),
        (['--option=num_steps=0'], 'num_steps=0 must be at least 1'),
        (['--option=strict=1'], 'strict=1 must be true or false'),
        (['--option=threshold=1e999'], 'threshold=inf must be a number'),
        (['--option=widths={4, 5}'], 'must be whole numbers, such as (16, 32)'),
        ([f'--option=widths={"(" * 9999}'], 'must be whole numbers, such as (16, 32)'),
        (['--option=parent=3'], "no option 'parent'"),
        (['--option=stem=3'], 'stem=3 must be a string'),
        (['--key=ema'], "has no weights at 'ema'; it has (the top)"),
    ],
)
def test_odd_options_are_refused(arguments, message, published, tmp_path, capsys):
    assert run(published[0], tmp_path / 'out', *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith('error: ')
    assert error.count('error: ') == 1
    assert not (tmp_path / 'out').exists()


def test_true_and_false_may_be_written_small(published, tmp_path):
    assert run(published[0], tmp_path / 'out', '--option=strict=false') == 0
    assert describe_weights(tmp_path / 'out')[1]['strict'] is False


def test_a_folder_with_something_in_it_stays(published, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine').touch()
    (tmp_path / 'file').touch()
    for place, message in (('out', 'already exists'), ('file', 'already exists')):
        assert run(published[0], tmp_path / place) == 2
        assert message in capsys.readouterr().err
    assert run(published[0], tmp_path / 'file/out') == 2
    assert 'Not a directory' in capsys.readouterr().err
    assert run(published[0], '~nobody_of_this_name/out') == 2
    assert 'error: ' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['mine']


def test_a_home_directory_and_missing_parents_will_do(published, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert run(published[0], '~/new/folder') == 0
    assert describe_weights(tmp_path / 'new/folder')[0] == 'ms_resnet18'
