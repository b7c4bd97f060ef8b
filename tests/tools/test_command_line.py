"""What the command lines of all commands share."""

import contextlib
import json
import re
import subprocess
import sys

import pytest

from snnjax import cli
from snnjax.data.datasets import PLANS
from snnjax.errors import ConfigError
from snnjax.export import nir_graph
from snnjax.models.registry import create_model
from snnjax.tools import evaluate, export, import_torch, inspect, isometry, prepare, summary, sweep
from snnjax.tools.command_line import JsonOutput, add_argument, as_called, new_parser, prints_aside
from snnjax.tools.model_arguments import add_set_argument, model_options
from snnjax.tools.weights_arguments import add_data_arguments, add_weights_argument, data_changes
from snnjax.train.loggers import LoggerError, check_loggers
from tests.conftest import ROOT

HELP_OF_ALL = """
import contextlib, io, json, sys
from snnjax import cli
found = {}
for name in cli.COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        cli.main([name, '--help'])
    found[name] = out.getvalue()
heavy = {'jax', 'flax', 'numpy', 'tensorflow_datasets', 'orbax', 'ml_collections', 'torch'}
json.dump([found, sorted(heavy & sys.modules.keys())], sys.stdout)
"""


def parser():
    return new_parser('Does nothing.\n\n  python -m snnjax.tools.nothing\n')


def test_help_of_all_commands_has_an_example_and_imports_nothing_heavy():
    result = subprocess.run(
        [sys.executable, '-c', HELP_OF_ALL], capture_output=True, text=True, check=True, cwd=ROOT
    )
    texts, heavy = json.loads(result.stdout)
    assert heavy == []
    assert texts.keys() == cli.COMMANDS.keys()
    for name, text in texts.items():
        assert text.startswith(f'usage: snnjax {name} ')
        assert re.search(rf'^  snnjax {name}( |$)', text, re.MULTILINE), text
        assert 'python -m' not in text


@pytest.mark.parametrize(
    ('program', 'shown'),
    [
        ('snnjax nothing', 'snnjax evaluate, snnjax train'),
        ('python -m snnjax nothing', 'python -m snnjax evaluate, python -m snnjax train'),
        ('/x/evaluate.py', 'python -m snnjax.tools.evaluate, python -m snnjax.main'),
    ],
)
def test_commands_are_written_as_this_one_was_called(program, shown, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [program])
    assert as_called('python -m snnjax.tools.evaluate, python -m snnjax.main') == shown


def test_names_of_earlier_versions_do_the_same_and_are_not_shown(capsys):
    made = parser()
    add_weights_argument(made, 'weights')
    add_argument(made, '--out', '--output', required=True)
    add_data_arguments(made)
    text = made.format_help()
    assert not re.search(r'--output|--dataset|--data_dir|^  weights', text, re.MULTILINE)
    new = ['--weights=x', '--out=y', '--data.name=digits', '--data.dir=z']
    old = ['--output=y', 'x', '--dataset=digits', '--data_dir=z']
    assert made.parse_args(new) == made.parse_args(old)
    assert data_changes(made.parse_args(old)) == {'name': 'digits', 'dir': 'z'}
    for arguments in (['--out=y'], ['--weights=x'], ['x', '--weights=x', '--out=y']):
        with pytest.raises(SystemExit):
            made.parse_args(arguments)
    errors = capsys.readouterr().err
    assert 'one of the arguments --weights is required' in errors
    assert 'one of the arguments --out is required' in errors


def test_json_is_alone_in_stdout_or_in_a_file(tmp_path, capsys):
    for text in ('-', str(tmp_path / 'new/x.json')):
        args = parser().parse_args([])
        args.json = JsonOutput(text)
        with prints_aside(args):
            print('beside')
            args.json.write({'a': 1})
    out, err = capsys.readouterr()
    assert out == '{\n  "a": 1\n}\nbeside\n'
    assert err == 'beside\n'
    assert json.loads((tmp_path / 'new/x.json').read_text()) == {'a': 1}


def test_an_evaluation_prints_json(digits_run, capsys):
    assert evaluate.main([f'--weights={digits_run[0]}', '--images=40', '--json=-']) == 0
    out, err = capsys.readouterr()
    row = json.loads(out)
    assert (row['model'], row['images'], row['step']) == ('ms_resnet8', 40, 35)
    assert f'accuracy: {row["accuracy"]:.4f}' in err


def test_inspect_takes_json_in_all_its_forms(digits_run, tmp_path, capsys):
    run, file = str(digits_run[0]), tmp_path / 'x.json'
    printed = []
    for arguments in ([run, '--json'], ['--json', run], [f'--weights={run}', '--json=-']):
        assert inspect.main(arguments) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert inspect.main([run, '--json', str(file)]) == 0
    assert 'checkpoints' in capsys.readouterr().out
    assert printed == [json.loads(file.read_text())] * 3


@pytest.mark.parametrize(
    ('text', 'option'),
    [
        ('num_steps=4', 4),
        ('num_steps=none', None),
        ('widths=8,16,32', (8, 16, 32)),
        ('blocks=2', (2,)),
        ('zero_init_residual=True', True),
        ('stem=conv7', 'conv7'),
        ("stem='conv7'", 'conv7'),
        ('kind=none', 'none'),
        ('decay=0.5', 0.5),
        ('decay=fast', 'fast'),
        ('hue=1', 1),
    ],
)
def test_options_of_a_model_have_the_type_of_their_field(text, option):
    made = parser()
    add_set_argument(made)
    args = made.parse_args(['--set', 'decay=0.1', '--set', text])
    key = text.partition('=')[0]
    assert model_options('ms_resnet8', args.set) == {'decay': 0.1, key: option}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('widths', '--set widths: write KEY=VALUE'),
        ('width=4', "no option 'width'; did you mean widths"),
        ('stem_stride=x', "stem_stride='x' must be a whole number"),
        ('zero_init_residual=2', 'zero_init_residual=2 must be true or false'),
    ],
)
def test_an_option_that_cannot_be_is_refused(text, message, capsys):
    assert summary.main(['--model=ms_resnet8', '--set', text]) == 2
    assert message in capsys.readouterr().err


def test_a_summary_is_of_the_options_that_are_set(capsys):
    narrow = ['--model=ms_resnet8', '--set', 'widths=2,2,4', '--set=num_classes=3', '--json=-']
    assert summary.main(narrow) == 0
    layers = json.loads(capsys.readouterr().out)
    assert layers[-1]['shape'] == [3]
    assert layers[0]['shape'][-1] == 2


def test_initial_models_have_the_options_that_are_set(monkeypatch):
    class Opened(Exception):  # noqa: N818
        pass

    def open_initial(name, **choice):
        raise Opened(name, choice['options'], choice['seed'])

    monkeypatch.setattr('snnjax.analysis.trained.open_initial', open_initial)
    with pytest.raises(Opened) as caught:
        isometry.main(['--models', 'ms_resnet8', '--set', 'widths=4,4,4', '--seed=3'])
    assert caught.value.args == ('ms_resnet8', {'widths': (4, 4, 4)}, 3)


def test_what_is_written_out_for_the_help_is_as_in_its_home():
    assert set(prepare.DATASETS) == PLANS.keys()
    assert set(export.READERS) == nir_graph.READERS.keys()
    assert export.SECONDS == nir_graph.SECONDS


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    for name in ('torch', 'matplotlib', 'matplotlib.figure'):
        monkeypatch.setitem(sys.modules, name, None)
    file = tmp_path / 'x.pth'
    file.touch()
    for command, arguments, extra in (
        (import_torch, [str(file), '--model=ms_resnet8', f'--out={tmp_path / "out"}'], 'torch'),
        (isometry, ['--models', 'ms_resnet8', f'--figure={tmp_path}/x.png'], 'plots'),
    ):
        with contextlib.suppress(SystemExit):
            assert command.main(arguments) == 2
        assert f"pip install 'snnjax[{extra}]'" in capsys.readouterr().err
    monkeypatch.setattr('snnjax.train.metric_writer.read_metrics', lambda _: [])
    row = {'run': 'a', 'family': 'ms_resnet', 'depth': 8, 'accuracy': 0.5, 'final_accuracy': 0.5}
    sweep._draw([row], tmp_path)
    assert "pip install 'snnjax[plots]'" in capsys.readouterr().out


@pytest.mark.parametrize('name', ['wandb', 'mlflow', 'trackio'])
def test_a_missing_logger_names_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LoggerError, match=rf"pip install 'snnjax\[{name}\]'"):
        check_loggers([name])


def test_options_of_an_unknown_model_are_refused():
    with pytest.raises(ValueError, match='unknown model'):
        model_options('ms_resnet9', ['num_steps=2'])
    with pytest.raises(ConfigError, match='write KEY=VALUE'):
        model_options('ms_resnet8', ['=2'])
    assert model_options('nothing', None) == {}
    assert create_model('ms_resnet8', **model_options('ms_resnet8', ['num_steps=2']))
