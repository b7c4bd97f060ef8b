"""What runs leave behind, for tests that compare them."""

import orbax.checkpoint as ocp

from snnjax.train.experiment import set_up
from snnjax.train.metric_writer import read_metrics
from snnjax.train.program import build_program


def outcome(workdir):
    """Everything of a run but its timing.

    Returns:
      Its last step, state and position, the steps of its checkpoints, and its metrics.
    """
    with ocp.CheckpointManager(workdir / 'checkpoints') as manager:
        step = manager.latest_step()
        restored = manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(), position=ocp.args.JsonRestore()
            ),
        )
        kept = sorted(manager.all_steps())
    return step, restored.state, restored.position, kept, metrics_without_times(workdir)


def metrics_without_times(workdir):
    """The lines of metrics but for what depends on the machine."""
    return [
        {key: value for key, value in record.items() if not key.startswith('time/')}
        for record in read_metrics(workdir)
    ]


def program_of(config, mesh, steps_per_epoch):
    """The program of a configuration with a single phase."""
    setup = set_up(config)
    return build_program(config, setup.dataset, setup.model, mesh, steps_per_epoch)
