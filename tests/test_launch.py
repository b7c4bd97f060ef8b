"""The launchers: the local one is executed; of the others, what can be seen without clusters."""

import json
import os
import re
import shlex
import sys

import pytest

from snnjax.train.metric_writer import read_metrics
from tests import processes
from tests.conftest import ROOT

LAUNCH = ROOT / 'launch'


def run(script, *arguments, **environment):
    return processes.run([LAUNCH / script, *arguments], cwd=ROOT, env=os.environ | environment)


def test_local_processes_train_together(tmp_path):
    result = run(
        'local_processes.sh',
        '2',
        '--config=configs/digits.py:depth=8,num_steps=1',
        '--config.batch_size=360',
        '--config.epochs=1',
        f'--workdir={tmp_path}',
        JAX_PLATFORMS='cpu',
        JAX_NUM_CPU_DEVICES='2',
        PYTHON=sys.executable,
    )
    assert result.returncode == 0, result.stderr
    assert 'on 4 cpu devices of 2 processes' in result.stdout
    assert read_metrics(tmp_path)[-1]['step'] == 3


def test_local_processes_end_with_the_status_of_their_command(tmp_path):
    result = run(
        'local_processes.sh',
        '2',
        '--config=configs/digits.py',
        '--config.batch_size=7',
        f'--workdir={tmp_path}',
        JAX_PLATFORMS='cpu',
        JAX_NUM_CPU_DEVICES='1',
        PYTHON=sys.executable,
    )
    assert result.returncode == 2
    assert 'batch_size=7 must be a multiple of the 2 devices' in result.stderr


@pytest.mark.parametrize('script', ['local_processes.sh', 'tpu_vm.sh', 'gpu_program.sh'])
def test_without_arguments_there_is_help(script):
    result = run(script)
    assert result.returncode == 2
    assert f'launch/{script}' in result.stderr


# Arguments that a shell would make others of.
AWKWARD = [
    '--workdir=/mnt/a folder',
    '--config.init_from=$(touch x); `y` && "z" | \'w\' > *',
    '',
]


def test_a_tpu_run_asks_installs_and_starts_on_all_hosts():
    result = run(
        'tpu_vm.sh',
        'run',
        '--config=configs/imagenet.py:depth=34',
        *AWKWARD,
        DRY_RUN='1',
        NAME='mine',
        TYPE='v5litepod-16',
        SETUP='mount-it',
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    steps = [
        'queued-resources create mine .*--accelerator-type=v5litepod-16 .*--spot --zone=',
        'until mine is ACTIVE',
        'tar --create',
        'tpu-vm scp /tmp/snnjax.tar.gz mine:snnjax.tar.gz --worker=all',
        r'tpu-vm ssh mine --worker=all .*uv.*editable',
        r'tpu-vm ssh mine --worker=all --command=mount-it',
        r'tpu-vm ssh mine --worker=all .*snnjax.main.*--distributed.*depth=34',
    ]
    assert len(lines) == len(steps)
    for line, step in zip(lines, steps, strict=True):
        assert re.search(step, line)
    # As the host's shell takes them.
    (sent,) = [word for word in shlex.split(lines[-1]) if word.startswith('--command=')]
    assert shlex.split(sent.removeprefix('--command='))[-len(AWKWARD) :] == AWKWARD


@pytest.mark.parametrize('command', ['create', 'install', 'status', 'delete'])
def test_steps_of_a_tpu_run_can_be_taken_alone(command):
    result = run('tpu_vm.sh', command, DRY_RUN='1', SPOT='0')
    assert result.returncode == 0, result.stderr
    assert 'gcloud compute tpus' in result.stdout
    assert '--spot' not in result.stdout


def test_the_job_of_a_cluster_has_a_process_for_each_host():
    yaml = pytest.importorskip('yaml')
    job = yaml.safe_load((LAUNCH / 'gke_jobset.yaml').read_text())
    hosts = job['spec']['replicatedJobs'][0]['template']['spec']
    pod = hosts['template']['spec']
    sides = pod['nodeSelector']['cloud.google.com/gke-tpu-topology'].split('x')
    container = pod['containers'][0]
    chips = container['resources']['limits']['google.com/tpu']
    assert hosts['parallelism'] == hosts['completions']
    assert hosts['parallelism'] * chips == int(sides[0]) * int(sides[1])
    assert container['command'][:4] == ['python', '-m', 'snnjax.main', '--distributed']


def test_the_program_for_gpus_gives_commands_that_are_taken():
    steps = ['peers', 'loop', 'profile', 'variants', 'table2', 'table9']
    printed = run('gpu_program.sh', *steps, DRY_RUN='1', PYTHON='python').stdout
    printed += run('gpu_program.sh', 'ann', 'configs/cifar10.py:depth=8', DRY_RUN='1').stdout
    lines = [shlex.split(line)[2:] for line in printed.splitlines()]
    modules = [words[1:] for words in lines if words[0] == '-m']
    assert [words[0].split('.')[-1] for words in modules] == ['sweep'] * 3 + ['main'] * 2
    result = processes.run(
        [sys.executable, '-m', 'tests.command_lines'], cwd=ROOT, stdin=json.dumps(modules)
    )
    assert json.loads(result.stdout) == [None] * len(modules), result.stderr
    scripts = [words for words in lines if words[0] != '-m']
    for script, *arguments in scripts:
        options = re.findall(r"'(--\w+)'", (ROOT / script).read_text())
        given = {a.partition('=')[0] for a in arguments if re.match(r'--(?!config)', a)}
        assert given <= set(options), script
    assert len(scripts) == 7


def test_the_program_for_gpus_refuses_a_step_that_is_none():
    result = run('gpu_program.sh', 'table3', DRY_RUN='1')
    assert result.returncode == 2
    assert 'unknown step table3' in result.stderr
