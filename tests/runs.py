"""What runs leave behind, for tests that compare them."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp

from snnjax.train.experiment import set_up
from snnjax.train.metric_writer import read_metrics
from snnjax.train.program import build_program

# A network of one block, for tests that are not about networks: it is compiled in half the time.
TINY = {
    'model.name': 'ms_resnet8',
    'model.num_steps': 1,
    'model.blocks': (1,),
    'model.widths': (8,),
    'model.strides': (2,),
}
TINY_ON_DIGITS = [
    '--config=configs/digits.py:depth=8,num_steps=1',
    '--config.model.blocks=(1,)',
    '--config.model.widths=(8,)',
    '--config.model.strides=(2,)',
]


def outcome(workdir):
    """Everything of a run but its timing, on however many devices it was.

    Returns:
      Its last step, state and position, the steps of its checkpoints, and its metrics.
    """
    with ocp.CheckpointManager(workdir / 'checkpoints') as manager:
        step, kept = manager.latest_step(), sorted(manager.all_steps())
    folder = workdir / 'checkpoints' / str(step)
    handler = ocp.PyTreeCheckpointHandler()
    form = handler.metadata(folder / 'state').tree
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), form)
    state = handler.restore(
        folder / 'state', args=ocp.args.PyTreeRestore(item=form, restore_args=arguments)
    )
    position = json.loads((folder / 'position' / 'metadata').read_text())
    return step, state, position, kept, metrics_without_times(workdir)


def assert_same_outcome(found, expected):
    """Asserts that two runs came to the same end, bit for bit; see `outcome`."""
    paths = jax.tree.leaves_with_path(expected[1])
    for (path, a), b in zip(paths, jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]


def metrics_without_times(workdir):
    """The lines of metrics but for what depends on the machine."""
    return [
        {key: value for key, value in record.items() if not key.startswith(('time/', 'device/'))}
        for record in read_metrics(workdir)
    ]


def program_of(config, mesh, steps_per_epoch):
    """The program of a configuration with a single phase."""
    setup = set_up(config)
    return build_program(config, setup.dataset, setup.model, mesh, steps_per_epoch)
