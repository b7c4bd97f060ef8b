"""The command line of commands that are given a configuration."""

import pytest

from snnjax.errors import ConfigError, PathError
from snnjax.tools.config_arguments import ConfigParser
from snnjax.train.config_file import read_config, split_config

FILE = """
from snnjax.train.config import default_config, parse_arguments

def get_config(arguments=''):
    config = default_config()
    config.epochs = parse_arguments(arguments, epochs=7).epochs
    config.model.dtype = 'bfloat16'
    return config
"""


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp('configs') / 'small.py'
    path.write_text(FILE)
    return path


def parse(*argv):
    parser = ConfigParser('A command.', 'python -m command --config=FILE --workdir=DIR')
    parser.add_argument('--workdir')
    return parser.parse(argv)


def config_of(*argv):
    args, changes = parse(*argv)
    return read_config(args.config, changes)


@pytest.mark.parametrize(
    'form',
    [
        ['--config={}', '--config.seed=3'],
        ['--config', '{}', '--config.seed', '3'],
        ['-config', '{}', '-config.seed=3'],
        ['-config={}', '-config.seed', '3'],
        ['--config.seed=3', '--config={}'],
        ['--config=nowhere.py', '--config.seed=2', '--config={}', '--config.seed=3'],
    ],
)
def test_every_form_of_the_command_line_means_the_same(path, form):
    config = config_of(*(part.format(path) for part in form))
    assert (config.seed, config.epochs, config.model.dtype) == (3, 7, 'bfloat16')


def test_arguments_follow_a_colon(path):
    assert config_of(f'--config={path}:epochs=2').epochs == 2


def test_a_colon_may_be_part_of_the_path(path, tmp_path):
    folder = tmp_path / 'a:b'
    folder.mkdir()
    for name in ('c.py', 'c.py:d.py'):
        (folder / name).write_text(FILE)
    assert split_config(f'{folder}/c.py') == (folder / 'c.py', '')
    assert split_config(f'{folder}/c.py:epochs=2') == (folder / 'c.py', 'epochs=2')
    # The longest file wins.
    assert split_config(f'{folder}/c.py:d.py:epochs=2') == (folder / 'c.py:d.py', 'epochs=2')
    assert config_of('--config', f'{folder}/c.py:d.py:epochs=2').epochs == 2


def test_config_files_of_the_package_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_of('--config=snnjax:cifar10:depth=32').model.name == 'ms_resnet32'
    with pytest.raises(ConfigError, match=r"'cifar1' comes .*; did you mean .*cifar10"):
        config_of('--config=snnjax:cifar1')
    # A file of that name comes first.
    path = tmp_path / 'snnjax:cifar10'
    path.write_text(FILE)
    assert config_of('--config=snnjax:cifar10').epochs == 7


def test_the_home_folder_is_expanded(path, monkeypatch):
    monkeypatch.setenv('HOME', str(path.parent))
    assert config_of('--config=~/small.py:epochs=2').epochs == 2
    with pytest.raises(PathError, match='there is no user of this name'):
        config_of('--config=~nobody_of_this_name/small.py')


def test_arguments_may_come_from_a_file(path, tmp_path):
    (tmp_path / 'arguments').write_text(f'# a comment\n--config={path}\n--config.seed=3\n')
    assert config_of(f'--flagfile={tmp_path}/arguments').seed == 3
    with pytest.raises(ConfigError, match='--flagfile'):
        config_of('--flagfile=nowhere')


def test_of_a_key_given_twice_the_last_one_counts(path):
    widths = ['--config.model.widths=(4,4,4)', '--config.model.widths=(8,8,8)']
    config = config_of(f'--config={path}', '--config.seed=1', '--config.seed=2', *widths)
    assert (config.seed, config.model.widths) == (2, (8, 8, 8))


def test_what_is_true_or_false_needs_no_value(path):
    assert config_of(f'--config={path}', '--config.data.flip').data.flip
    assert not config_of(f'--config={path}', '--config.data.flip', '--noconfig.data.flip').data.flip


@pytest.mark.parametrize('word', ['None', 'none'])
def test_none_leaves_an_option_to_the_model(path, word):
    open_keys = ['dtype', 'widths', 'threshold', 'remat', 'stem_stride', 'strict', 'scan_layers']
    config = config_of(f'--config={path}', *(f'--config.model.{key}={word}' for key in open_keys))
    assert [config.model[key] for key in open_keys] == [None] * len(open_keys)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], '--config is missing; usage: python -m command'),
        (['--config'], 'argument --config: expected one argument; usage: '),
        (['--config={}', 'extra'], "unexpected argument 'extra'"),
        (['--config={}', '--worker=3'], "unknown argument '--worker=3'"),
        (['--config', '{}', '--config.epoch', '3'], "unknown config key 'epoch'; did you mean ep"),
        (['--config={}', '--config.epochs'], 'Missing value for flag --config.epochs'),
        (['--config={}', '--config.epochs=None'], 'config.epochs=None: invalid literal for int'),
        (['--config={}', '--config.model.widths=(4,'], 'config.model.widths=(4,: Error while'),
        (['--config={}', '--noconfig.epochs'], "'noconfig.epochs'"),
        (['--config', '{}.txt'], 'no config file'),
        (['--config=' + 300 * 'x'], 'no config file xxx'),
    ],
)
def test_what_cannot_be_read_is_one_line(path, arguments, message):
    with pytest.raises(ConfigError) as error:
        config_of(*(argument.format(path) for argument in arguments))
    assert message in str(error.value)
    assert '\n' not in str(error.value)
