import importlib.util
import json
import os
import sys
from unittest import mock

import pytest

from snnjax.tools import plan_tpu, recipe
from snnjax.tools.collectives import count_collectives
from snnjax.tools.plan_tpu import Plan, _reason, describe_topology, largest
from snnjax.train.config import ConfigError, default_config
from tests import processes
from tests.conftest import ROOT

needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec('libtpu'), reason="libtpu is not here: pip install '.[aot]'"
)


def test_collectives_are_counted_with_their_bytes():
    program = """
      %all-reduce.1 = f32[64,3]{1,0} all-reduce(%x), channel_id=1
      %start = (bf16[8]{0}, bf16[2,4]{1,0}) all-reduce-start(%y, %z), channel_id=2
      %done = (bf16[8]{0}, bf16[2,4]{1,0}) all-reduce-done(%start)
      %gather = s8[1024]{0:T(128)} all-gather(%x), channel_id=3, dimensions={0}
      %the_same = s8[1024]{0:T(128)} all-gather(%x), channel_id=3, dimensions={0}
      %scalar = f32[] all-reduce(%x)
      ROOT %other = f32[5]{0} add(%all-reduce.1, %x)
    }
%all-reduce-scatter.6 (input_0: f32[64,8]) -> f32[64,1] {
      %all-reduce.2 = f32[64,8]{1,0} all-reduce(%input_0), channel_id=4
    """
    assert count_collectives(program) == {
        'all-reduce': (3, 64 * 3 * 4 + 2 * 16 + 4),
        'all-gather': (1, 1024),
        'reduce-scatter': (1, 64 * 8 * 4),
    }


@pytest.mark.parametrize('limit', [0, 1, 2, 31, 32, 33, 100, 1000])
@pytest.mark.parametrize('first', [1, 32])
def test_the_largest_that_fits_is_found(limit, first):
    tried = []
    found = largest(lambda n: tried.append(n) or n <= limit, first)
    assert found <= limit
    assert limit - found <= max(1, limit // 14)
    assert len(tried) < 20


def test_a_lack_of_memory_is_told_in_a_line():
    error = 'RESOURCE_EXHAUSTED: Ran out of memory\nUsed 20.13G of 15.75G hbm. Exceeded by 4.38G.'
    assert _reason(error) == 'needs 20.13G of 15.75G'


@pytest.mark.parametrize(
    ('topology', 'message'),
    [
        ('v5:2x4', "unknown chip 'v5' in --topology; did you mean"),
        ('v5e:8', '--topology=v5e:8 must have the form v5e:2x4'),
    ],
)
def test_a_topology_that_is_none_is_refused(topology, message):
    with pytest.raises(ConfigError, match=message):
        describe_topology(topology)


def run(*arguments):
    command = [sys.executable, '-m', 'snnjax.tools.plan_tpu', *arguments]
    return processes.run(command, cwd=ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu'})


@needs_libtpu
def test_a_step_is_compiled_for_a_tpu_and_reduces_only():
    result = run('--config=configs/digits.py:depth=8,num_steps=2', '--topology=v5e:2x2', '--json')
    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    assert (plan['chips'], plan['images'], plan['problem']) == (4, 8, '')
    assert plan['collectives'].keys() == {'all-reduce'}
    # Parameters and momentum in float32, and little else.
    assert 2 * 4 * 77_754 < plan['arguments'] < 3e6
    # What is small stays in the fast memory of the chip.
    assert 0 <= plan['temporaries'] < 1e9
    # Two operations for each of the 8 images' multiply-accumulates, forward and twice backward.
    assert 0.5 < plan['flops'] / (6 * 8 * 2 * 737_280) < 2
    assert plan['compute_seconds'] == plan['flops'] / 197e12
    # 1437 images for training, and 360 for evaluation after each of 20 epochs.
    (phase,) = plan['recipe']['phases']
    assert (phase['steps'], phase['evaluations']) == (20 * (1437 // 32), 20)
    assert phase['evaluation_steps'] == 12
    step = max(plan['compute_seconds'], plan['memory_seconds'])
    assert 0 < phase['evaluation_step_seconds'] < step == phase['step_seconds']
    hours = (880 * step + 240 * phase['evaluation_step_seconds']) / 3600
    assert plan['recipe']['hours'] == pytest.approx(hours)
    assert plan['recipe']['chip_hours'] == pytest.approx(4 * hours)


def test_the_least_hours_are_those_of_all_phases():
    def plan(config, topology, images=0, *, evaluation=False):
        seconds = 0.25 if evaluation else 1.0 * config.model.num_steps
        return Plan(topology, 4, 8, flops=1, compute_seconds=seconds, memory_seconds=0.1)

    config = default_config()
    config.data.name = 'fake_imagenet'
    config.data.image_size = 224
    config.model.name = 'ms_resnet34'
    config.model.num_steps = 6
    config.epochs, config.batch_size, config.eval_every_epochs = 3, 256, 2
    config.earlier_phases.t1 = {'epochs': 5, 'model': {'num_steps': 1}}
    with mock.patch.object(plan_tpu, 'plan_step', plan):
        phases = plan_tpu.plan_recipe(config, 'v5e:2x2', 8, plan(config, 'v5e:2x2'))
    first, last = phases
    # Eight images on each of four chips.
    assert (first.name, first.steps, first.step_seconds) == ('t1', 5 * (1_281_167 // 32), 1.0)
    assert (last.name, last.steps, last.step_seconds) == ('', 3 * (1_281_167 // 32), 6.0)
    assert (first.evaluations, last.evaluations, last.evaluation_steps) == (3, 2, 157)
    hours = (200_180 + 720_648 + 5 * 157 * 0.25) / 3600
    assert recipe.to_json(phases, 4)['hours'] == pytest.approx(hours)
    assert recipe.to_json(phases, 4)['chip_hours'] == pytest.approx(4 * hours)
    table = plan_tpu.describe(config, plan(config, 'v5e:2x2'), None, phases)
    assert f'at least {hours:.2f} h, {4 * hours:.1f} chip-hours' in table
    assert '200,180 steps in 55.61 h, 3 evaluations in 0.03 h' in table


@pytest.mark.parametrize('last', [Plan('', 4, 8), Plan('', 4, 8, problem='needs 20G of 16G')])
def test_no_hours_are_claimed_without_a_time_of_the_step(last):
    assert plan_tpu.plan_recipe(default_config(), 'v5e:2x2', 8, last) == []


@needs_libtpu
def test_shared_parameters_are_gathered_and_their_gradients_scattered_once():
    arguments = ['--config=configs/digits.py:depth=8,num_steps=2', '--topology=v5e:2x4', '--json']
    # Wide enough for a kernel to be worth a part on each chip.
    arguments.append('--config.model.widths=(64,128,256)')
    whole, shared = (json.loads(run(*arguments, f'--config.fsdp={fsdp}').stdout) for fsdp in (1, 8))
    assert whole['collectives'].keys() == {'all-reduce'}
    assert shared['collectives'].keys() == {'all-reduce', 'all-gather', 'reduce-scatter'}
    kernels = 1_223_744  # Numbers in the ten kernels, all of which are shared.
    number, gathered = shared['collectives']['all-gather']
    assert number == 10
    # The compiler gathers what a matrix unit takes, two bytes a number.
    assert 2 * kernels <= gathered <= 4 * kernels
    times, scattered = shared['collectives']['reduce-scatter']
    assert times == 1
    assert 3.8 * kernels < scattered <= 4 * kernels
    assert shared['arguments'] < whole['arguments'] / 6


@needs_libtpu
@pytest.mark.parametrize('topology', ['v4:2x2x1', 'v5p:2x2x1', 'v6e:2x2'])
def test_every_kind_of_chip_can_be_planned_for(topology):
    arguments = ['--config=configs/digits.py:depth=8,num_steps=1', f'--topology={topology}']
    result = run(*arguments, '--images_per_chip=8', '--config.fsdp=2', '--json')
    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    assert (plan['chips'], plan['images'], plan['problem']) == (4, 8, '')


@needs_libtpu
def test_of_scanned_layers_memory_is_planned_and_no_traffic_claimed():
    arguments = ['--config=configs/digits.py:depth=20,num_steps=2', '--topology=v5e:2x2']
    result = run(*arguments, '--config.model.scan_layers=true')
    assert result.returncode == 0, result.stderr
    assert 'not counted if layers are scanned' in result.stdout
    assert 'temporaries' in result.stdout
    assert 'images per second' not in result.stdout


@needs_libtpu
def test_whether_layers_are_scanned_is_not_left_to_this_machine():
    result = run('--config=configs/digits.py', '--config.model.scan_layers=auto')
    assert result.returncode == 2
    assert "model.scan_layers='auto' would be decided by this machine" in result.stderr


@needs_libtpu
def test_what_does_not_fit_is_a_line_of_the_table():
    result = run(
        '--config=configs/digits.py:depth=8,num_steps=2',
        '--topology=v5e:2x2',
        '--images_per_chip=4000000',
    )
    assert result.returncode == 0, result.stderr
    assert 'does not fit' in result.stdout


@needs_libtpu
def test_a_topology_that_is_not_made_is_refused():
    result = run('--config=configs/digits.py', '--topology=v5e:3x5')
    assert result.returncode == 2
    assert 'error: --topology=v5e:3x5 is not available' in result.stderr
