import re
import sys

from snnjax.tools import bench_data
from tests import processes
from tests.conftest import ROOT
from tests.runs import TINY_ON_DIGITS


def run(*arguments):
    command = [sys.executable, '-m', 'snnjax.tools.bench_data', *arguments]
    return processes.run(command, cwd=ROOT)


def test_tells_the_speed_of_batches_and_the_time_spent_waiting():
    result = run(
        '--config=configs/fake_imagenet.py:depth=18,num_steps=1,batch_size=4',
        '--config.data.image_size=32',
        '--config.data.workers=1',
        *TINY_ON_DIGITS[1:],
        '--batches=2',
        '--steps=2',
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('fake_imagenet: batches of 4 images, 32x32x3\n')
    rates = re.findall(r'^(.*?)  +([\d.]+) images/s$', result.stdout, re.MULTILINE)
    assert [name for name, _ in rates] == ['one core', '1 process', 'in training']
    assert all(float(rate) > 0 for _, rate in rates)
    waiting = float(re.search(r'^waiting for data +([\d.]+)%$', result.stdout, re.MULTILINE)[1])
    assert 0 < waiting <= 100


def test_what_cannot_be_measured_is_refused(capsys):
    arguments = [f'--config={ROOT}/configs/imagenet.py', '--config.data.dir=nowhere']
    assert bench_data.main(arguments) == 2
    assert 'python -m snnjax.tools.prepare imagenet' in capsys.readouterr().err
