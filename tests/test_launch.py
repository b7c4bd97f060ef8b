"""The launchers: the local one is executed, the others against stand-ins for clouds."""

import json
import os
import re
import shlex
import shutil
import sys

import pytest

from snnjax.train.metric_writer import read_metrics
from tests import processes
from tests.conftest import ROOT
from tests.fake_clouds import Stand
from tests.runs import TINY_ON_DIGITS

LAUNCH = ROOT / 'launch'


def run(script, *arguments, **environment):
    return processes.run([LAUNCH / script, *arguments], cwd=ROOT, env=os.environ | environment)


def test_local_processes_train_together(tmp_path):
    result = run(
        'local_processes.sh',
        '2',
        *TINY_ON_DIGITS,
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


STATES = 'queued-resources describe'
GONE = 1


@pytest.fixture
def cloud(tmp_path):
    """Makes stand-ins for gcloud, and for the Python of its hosts.

    gcloud's commands for hosts are executed here, in a folder without pip, where the environment
    is there already.
    """

    def make(states, statuses):
        (tmp_path / 'gcloud').mkdir()
        (tmp_path / 'host').mkdir()
        gcloud = Stand(tmp_path / 'gcloud', ['gcloud', 'tar', 'python3'], {STATES: states})
        host = Stand(tmp_path / 'host', ['python'], {'snnjax.main': statuses})
        environment = tmp_path / 'gcloud' / 'snnjax' / '.venv'
        environment.mkdir(parents=True)
        (environment / 'bin').symlink_to(tmp_path / 'host' / 'bin')
        return gcloud, host

    return make


def run_on_cloud(gcloud, *arguments):
    settings = {'NAME': 'mine', 'POLL': '0'}
    return processes.run(
        [LAUNCH / 'tpu_vm.sh', 'run', *arguments], cwd=ROOT, env=gcloud.environment | settings
    )


def life(gcloud):
    """What was done with the TPU, in order."""
    steps = [call[3:5] for call in gcloud.calls if call[0] == 'gcloud']
    return [' '.join(step) for step in steps if 'describe' not in step]


CREATED = ['queued-resources create']
INSTALLED = ['tpu-vm scp', 'tpu-vm ssh']
RUN = ['tpu-vm ssh']


def test_a_tpu_is_asked_for_waited_for_and_asked_for_again_when_it_was_taken_away(cloud):
    states = [
        GONE,
        *('ACCEPTED', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'),
        # It is taken away in the first run, and once more before it is there again.
        *('SUSPENDED', 'SUSPENDED', 'WAITING_FOR_RESOURCES', 'FAILED', 'FAILED', 'ACTIVE'),
        # A run that was told to stop has saved.
        *('ACTIVE', 'ACTIVE'),
    ]
    gcloud, host = cloud(states, [255, 75, 0])
    result = run_on_cloud(gcloud, '--config=configs/digits.py', *AWKWARD)
    assert result.returncode == 0, result.stderr
    again = ['queued-resources delete', *CREATED]
    assert life(gcloud) == [*again, *INSTALLED, *RUN, *again, *again, *INSTALLED, *RUN, *RUN]
    sent = ['python', '-m', 'snnjax.main', '--distributed', '--config=configs/digits.py', *AWKWARD]
    assert host.calls == [sent] * 3


def test_a_wrong_command_ends_the_launcher_with_its_status(cloud):
    gcloud, host = cloud(['ACTIVE'], [2])
    assert run_on_cloud(gcloud, '--config=none.py').returncode == 2
    assert life(gcloud) == RUN
    assert len(host.calls) == 1


def test_a_command_that_fails_while_the_tpu_is_there_is_not_repeated_for_ever(cloud):
    gcloud, host = cloud(['ACTIVE'] * 9, [1] * 9)
    result = run_on_cloud(gcloud, '--config=configs/digits.py')
    assert result.returncode == 1
    assert 'failed three times in a row with status 1' in result.stderr
    assert life(gcloud) == RUN * 3
    assert len(host.calls) == 3


def test_a_request_that_is_refused_ends_the_launcher(cloud):
    gcloud, host = cloud([GONE], [])
    answers = {STATES: [GONE], 'queued-resources create': [1]}
    (gcloud.folder / 'answers.json').write_text(json.dumps(answers))
    assert run_on_cloud(gcloud, '--config=configs/digits.py').returncode == 1
    assert life(gcloud)[-1:] == CREATED
    assert not host.calls


@pytest.mark.parametrize(('status', 'queued_again'), [(0, False), (75, True), (1, False)])
def test_a_slurm_job_that_was_stopped_is_queued_again(tmp_path, status, queued_again):
    stand = Stand(tmp_path, ['srun', 'scontrol'], {'srun': [status]})
    job = {'SLURM_JOB_ID': '17'}
    result = processes.run(
        ['bash', LAUNCH / 'slurm.sbatch', *AWKWARD], cwd=ROOT, env=stand.environment | job
    )
    assert result.returncode == status
    started, *others = stand.calls
    command = ['.venv/bin/python', '-m', 'snnjax.main', '--distributed', *AWKWARD]
    assert started[-len(command) :] == command
    assert others == ([['scontrol', 'requeue', '17']] if queued_again else [])


def test_the_steps_of_the_image_make_one_that_runs(tmp_path):
    """Without a daemon: its steps, one after the other, in a fresh environment without packages."""
    image, root = tmp_path / 'environment', tmp_path / 'root'
    processes.run([sys.executable, '-m', 'venv', image])
    installed = next(path for path in sys.path if path.endswith('site-packages'))
    environment = os.environ | {
        'PATH': f'{image / "bin"}:{os.environ["PATH"]}',
        'PYTHONPATH': installed,
        # What the package needs is there; only it is installed.
        **dict.fromkeys(('PIP_NO_DEPS', 'PIP_NO_INDEX', 'PIP_FORCE_REINSTALL'), '1'),
        'PIP_NO_BUILD_ISOLATION': 'false',
        'PIP_TARGET': str(image / 'packages'),
    }
    text = (LAUNCH / 'Dockerfile').read_text().replace('\\\n', ' ')
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != '#']
    folder, command = root, {}
    for instruction, rest in steps:
        match instruction:
            case 'ARG':
                name, _, value = rest.partition('=')
                environment[name] = value
            case 'WORKDIR':
                folder = root / rest.strip('/')
                folder.mkdir(parents=True)
            case 'COPY':
                *sources, target = rest.split()
                for source in sources:
                    copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                    copy(ROOT / source, folder / target)
            case 'RUN':
                result = processes.run(['bash', '-c', rest], cwd=folder, env=environment)
                assert result.returncode == 0, result.stderr
            case 'ENTRYPOINT' | 'CMD':
                command[instruction] = json.loads(rest)
            case _:
                assert instruction == 'FROM', instruction
    assert command == {'ENTRYPOINT': ['snnjax'], 'CMD': ['doctor']}
    program = image / 'packages' / 'bin' / 'snnjax'
    packages = environment | {'PYTHONPATH': f'{image / "packages"}:{installed}'}
    arguments = ['train', '--config=snnjax:digits', '--print_config']
    result = processes.run([program, *arguments], cwd=tmp_path, env=packages)
    assert json.loads(result.stdout)['data']['name'] == 'digits', result.stderr


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
    assert container['command'][:3] == ['snnjax', 'train', '--distributed']


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
