"""Old names of configuration keys."""

import json

import pytest

from snnjax.train.config import default_config
from snnjax.train.config_file import read_config
from snnjax.train.renamed_keys import RENAMED
from snnjax.train.run_directory import check_config
from tests.conftest import ROOT


@pytest.mark.parametrize('old', RENAMED)
def test_an_old_key_sets_the_new_one_with_a_warning(old, capsys):
    config = default_config()
    place = config.optimizer if old == 'clip_norm' else config
    setattr(place, old, True if old == 'new_classifier' else 0.5)
    assert place[RENAMED[old]]
    assert old not in place
    assert f'{old!r} is now {RENAMED[old]!r}' in capsys.readouterr().err


def test_old_keys_work_on_the_command_line_and_in_update(capsys):
    config = read_config(
        str(ROOT / 'configs' / 'digits.py'),
        ['--config.optimizer.clip_norm=2', '--config.average_decay=0.9'],
    )
    assert config.optimizer.grad_clip_norm == 2.0
    assert config.ema_decay == 0.9
    err = capsys.readouterr().err
    assert "'optimizer.clip_norm' is now 'optimizer.grad_clip_norm'" in err
    config = default_config()
    config.update({'average_decay': 0.5, 'optimizer': {'clip_norm': 3.0}})
    assert (config.ema_decay, config.optimizer.grad_clip_norm) == (0.5, 3.0)


def test_the_run_of_an_older_version_is_the_same_run(tmp_path):
    config = default_config()
    config.ema_decay = 0.9
    old = json.loads(config.to_json())
    for before, now in (('average_decay', 'ema_decay'), ('new_classifier', 'reset_head')):
        old[before] = old.pop(now)
    old['optimizer']['clip_norm'] = old['optimizer'].pop('grad_clip_norm')
    (tmp_path / 'config.json').write_text(json.dumps(old))
    check_config(tmp_path, config)
