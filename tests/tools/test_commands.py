"""What all commands have in common: where they may write to, and how they end."""

import importlib
import shutil
import subprocess
import sys

import pytest

from snnjax import cli
from snnjax.analysis.runs import read_table
from snnjax.tools import evaluate, inspect, summary
from tests.conftest import ROOT
from tests.faults.commands import run_command

# What a command has to be given beside the option that is tried; {run} is a folder of weights.
OPENS_WEIGHTS = {
    'evaluate': ['--weights={run}'],
    'energy': ['--weights={run}'],
    'similarity': ['--weights', '{run}'],
    'isometry': ['--weights', '{run}'],
    'time_steps': ['--weights={run}'],
    'early_answers': ['--weights={run}'],
    'report': ['{run}'],
    'inspect': ['{run}'],
    'export': ['--weights={run}', '--format=safetensors', '--out=out'],
}
WRITES = {
    'evaluate': ['--csv'],
    'energy': ['--json'],
    'similarity': ['--json', '--figure'],
    'isometry': ['--json', '--figure'],
    'time_steps': ['--csv', '--figure'],
    'early_answers': ['--csv', '--figure'],
    'report': ['--out'],
    'compare': ['--csv', '--figure'],
    'predict': ['--csv', '--json'],
    'export': ['--out'],
    'import_torch': ['--out'],
    'prepare': ['--data_dir'],
}
REQUIRED = OPENS_WEIGHTS | {
    'compare': ['{run}'],
    'predict': ['--weights={run}', 'photo.jpg'],
    'import_torch': ['{run}', '--model=ms_resnet8', '--out=out'],
    'prepare': ['digits', '--source=.', '--data_dir=out'],
}
COMMANDS = sorted(cli.COMMANDS.keys() - {'train'})


def main_of(command):
    return importlib.import_module(f'snnjax.tools.{command}').main


def status_of(command, arguments):
    try:
        return main_of(command)(arguments)
    except SystemExit as end:
        return end.code


def arguments_of(command, run):
    return [text.format(run=run) for text in REQUIRED.get(command, [])]


def assert_is_one_error(errors, message):
    assert errors.count('error: ') == 1
    assert 'Traceback' not in errors
    assert message in errors


@pytest.mark.parametrize(
    ('command', 'option'), [(name, option) for name, each in WRITES.items() for option in each]
)
@pytest.mark.parametrize(
    ('target', 'message'),
    [
        ('{tmp}/file/x.png', 'Not a directory'),
        ('/proc/missing/x.png', 'cannot be written'),
        ('{tmp}/' + 'n' * 300 + '.png', 'File name too long'),
        ('~nobody_of_this_name/x.png', 'there is no user of this name'),
    ],
)
def test_no_command_begins_without_a_place_for_its_output(
    command, option, target, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    # Weights that are not there would be said if the output had been accepted.
    arguments = [*arguments_of(command, 'nowhere'), f'{option}={target.format(tmp=tmp_path)}']
    assert status_of(command, arguments) == 2
    assert_is_one_error(capsys.readouterr().err, message)
    assert [path.name for path in tmp_path.iterdir()] == ['file']


@pytest.mark.parametrize(
    ('command', 'option'),
    [
        (name, option)
        for name, each in WRITES.items()
        for option in each
        if option in ('--csv', '--json', '--figure') or name == 'report'
    ],
)
def test_a_folder_is_no_output_file(command, option, tmp_path, capsys):
    arguments = [*arguments_of(command, 'nowhere'), f'{option}={tmp_path}']
    assert status_of(command, arguments) == 2
    assert_is_one_error(capsys.readouterr().err, 'is a folder: name a file in it')


@pytest.mark.parametrize(
    ('command', 'option'),
    [(name, '--figure') for name, each in WRITES.items() if '--figure' in each],
)
def test_a_figure_of_no_known_format_is_refused_before_the_work(command, option, tmp_path, capsys):
    arguments = [*arguments_of(command, 'nowhere'), f'{option}={tmp_path}/x.xyz']
    assert status_of(command, arguments) == 2
    assert_is_one_error(capsys.readouterr().err, 'x.xyz must end in one of ')


@pytest.fixture(scope='module')
def damaged(digits_run, tmp_path_factory):
    """A function that gives a copy of a run in which a file has another content."""
    folder = tmp_path_factory.mktemp('damaged')
    made = {}

    def damage(name, content):
        if (name, content) not in made:
            made[name, content] = copy = folder / str(len(made))
            shutil.copytree(digits_run[0], copy)
            (copy / name).write_text(content)
        return made[name, content]

    return damage


@pytest.mark.parametrize('command', OPENS_WEIGHTS)
@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        (None, '', 'has no weights'),
        ('model.json', '{"cut off', 'model.json'),
        ('model.json', '[]', 'model.json'),
        ('model.json', '{"name": "ms_resnet8", "options": {"num_steps": 2, "hue": 1}}', 'hue'),
        ('model.json', '{"name": "ms_resnet9", "options": {"num_steps": 2}}', 'ms_resnet8'),
        ('config.json', '', 'give --dataset'),
        ('config.json', '{"cut off', 'config.json is damaged'),
    ],
)
def test_weights_that_are_missing_or_damaged_are_one_error(
    command, name, content, message, damaged, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    run = damaged(name, content) if name else tmp_path / 'missing'
    status = status_of(command, arguments_of(command, run))
    if command == 'inspect' and (content == '' or 'options' in content) and name:
        # It tells what the file says, and builds nothing.
        assert status == 0
    elif command == 'export' and name == 'config.json':
        assert 'config.json' in ''.join(capsys.readouterr())
    else:
        assert status == 2
        assert_is_one_error(capsys.readouterr().err, message)


@pytest.mark.parametrize('command', OPENS_WEIGHTS)
@pytest.mark.parametrize('checkpoint', ['7', 'worst', '٣'])
def test_a_checkpoint_that_is_not_there_is_refused(command, checkpoint, digits_run, capsys):
    arguments = [*arguments_of(command, digits_run[0]), f'--checkpoint={checkpoint}']
    assert status_of(command, arguments) == 2
    assert_is_one_error(capsys.readouterr().err, 'there are newest, best, 35')


@pytest.mark.parametrize('command', sorted(OPENS_WEIGHTS.keys() - {'export', 'inspect'}))
@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('--images=-1', '--images=-1 must be between 0 (all images) and 360'),
        ('--images=361', '--images=361 must be between 0 (all images) and 360'),
        ('--batch_size=0', '--batch_size=0 must be at least 1'),
        ('--batch_size=-8', '--batch_size=-8 must be at least 1'),
        ('--batch_size=12', 'a multiple of the 8 devices'),
        ('--num_steps=0', 'num_steps=0 must be at least 1'),
        ('--num_steps=-1', 'num_steps=-1 must be at least 1'),
        ('--data_dir=~nobody_of_this_name', 'there is no user of this name'),
    ],
)
def test_numbers_that_cannot_be_are_refused(command, argument, message, digits_run, capsys):
    assert status_of(command, [*arguments_of(command, digits_run[0]), argument]) == 2
    assert_is_one_error(capsys.readouterr().err, message)


@pytest.mark.parametrize('command', sorted(REQUIRED))
def test_an_unknown_user_of_a_folder_is_one_error(command, capsys):
    path = '~nobody_of_this_name/run'
    arguments = [text.replace('=.', f'={path}') for text in arguments_of(command, path)]
    assert status_of(command, arguments) == 2
    assert_is_one_error(capsys.readouterr().err, '~nobody_of_this_name')


def test_a_table_may_be_in_a_new_folder_and_a_batch_larger_than_the_split(
    digits_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('HOME', str(tmp_path))
    run = tmp_path / '0010 [a]'
    run.symlink_to(digits_run[0])
    monkeypatch.chdir(tmp_path)
    arguments = ['--weights=0010 [a]', '--checkpoint=best', f'--batch_size={8 * 10**7}']
    assert evaluate.main([*arguments, '--csv=~/missing/results.csv']) == 0
    assert '\ncheckpoint of step 35\n' in capsys.readouterr().out
    (row,) = read_table(tmp_path / 'missing' / 'results.csv')
    assert (row['weights'], row['step'], row['images']) == ('0010 [a]', 35, 360)


@pytest.mark.parametrize(
    ('command', 'arguments'),
    [
        *((command, ['--help']) for command in COMMANDS),
        ('inspect', None),
        ('summary', ['--model=ms_resnet8']),
    ],
)
@pytest.mark.parametrize(('stdout', 'status'), [('closed pipe', 141), ('/dev/full', 1)])
def test_output_that_nobody_takes_ends_a_command_without_a_traceback(
    command, arguments, stdout, status, digits_run, tmp_path
):
    arguments = arguments or [str(digits_run[0])]
    result = run_command(f'snnjax.tools.{command}', arguments, tmp_path, stdout)
    assert result.status == status
    assert 'Exception ignored' not in result.stderr
    if stdout == 'closed pipe':
        assert result.stderr == ''
    else:
        assert_is_one_error(result.stderr, 'No space left on device')


@pytest.mark.parametrize('command', sorted(OPENS_WEIGHTS.keys() - {'inspect', 'export'}))
def test_ctrl_c_ends_a_command_without_a_traceback(command, monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('snnjax.analysis.trained.open_trained', interrupted)
    assert status_of(command, arguments_of(command, tmp_path)) == 130
    assert capsys.readouterr() == ('', '')


def test_ctrl_c_ends_a_command_that_is_still_being_imported():
    code = (
        'import signal, sys\nsys.argv = ["-m"]\n'
        # A test in the background of a shell has it ignored.
        'signal.signal(signal.SIGINT, signal.default_int_handler)\nimport snnjax.tools\n'
        'print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)\n'
        'from snnjax.errors import run_command\n'
        'show = lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n'
        'sys.exit(run_command(show))'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout == 'True\nTrue\n'


def test_a_full_disk_at_the_end_is_one_error(digits_run, tmp_path):
    arguments = ['--weights', str(digits_run[0]), '--images=16', '--json=/dev/full']
    result = run_command('snnjax.tools.similarity', arguments, tmp_path)
    assert result.status == 1
    assert 'blocks with an SSIM of exactly 1' in result.stdout
    assert_is_one_error(result.stderr, '/dev/full: No space left on device')


def test_options_of_a_summary_that_cannot_be_are_refused(capsys):
    for argument in ('--size=0', '--size=-8', '--num_steps=0', '--num_steps=-1'):
        assert summary.main(['--model=ms_resnet8', argument]) == 2
        name, value = argument.removeprefix('--').split('=')
        assert_is_one_error(capsys.readouterr().err, f'{name}={value}')


@pytest.mark.parametrize('command', COMMANDS)
def test_the_help_has_an_example_of_the_command(command, capsys):
    assert status_of(command, ['--help']) == 0
    assert f'python -m snnjax.tools.{command}' in capsys.readouterr().out


def test_inspect_tells_what_there_is_without_a_configuration(damaged, capsys):
    run = damaged('environment.jsonl', '{}\n')
    (run / 'config.json').unlink()
    assert inspect.main([str(run)]) == 0
    out = capsys.readouterr().out
    assert 'step 35' in out
    assert 'Python unknown' in out
