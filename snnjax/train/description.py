"""Descriptions of a run, at its start and for a dry run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from snnjax.models.params import block_of, by_name
from snnjax.spelling import count
from snnjax.train.config import describe_split
from snnjax.train.experiment import Experiment, Phase, open_experiment
from snnjax.train.run_directory import check_config
from snnjax.train.state import count_parameters


def describe_run(experiment: Experiment, start: int, notes: Sequence[str]) -> str:
    """Returns lines about the model, data, steps and devices of a run, followed by ``notes``."""
    phases, last = experiment.phases, experiment.last
    config = last.config
    parameters = count_parameters(last.program.abstract_state().params)
    devices = jax.devices()
    begin = f'continuing at step {start:,}' if start else 'starting a run'
    sizes = {phase.config.batch_size for phase in phases}
    of_images = f' of {count(config.batch_size, "image")}' if len(sizes) == 1 else ''
    return (
        f'{config.model.name}: {parameters:,} parameters, '
        f'{count(config.model.num_steps, "time step")}\n'
        f'{config.data.name}: {len(last.batches.split):,} training and {len(last.test_split):,} '
        f'test images{describe_split(config.data.split)}\n'
        f'{begin} of {count(last.last_step, "step")}{of_images} '
        f'on {count(len(devices), f"{devices[0].device_kind} device")}'
        + (f' of {count(jax.process_count(), "process")}' if jax.process_count() > 1 else '')
        + ''.join(f'\n{note}' for note in notes)
    )


def describe_phase(phase: Phase) -> str:
    """Returns a line about the phase that begins, and its last step."""
    return (
        f'{f"phase {phase.name}" if phase.name else "last phase"}: '
        f'{count(phase.config.epochs, "epoch")} at '
        f'{count(phase.config.model.num_steps, "time step")}, to step {phase.last_step:,}'
    )


def describe_dry_run(config: ml_collections.ConfigDict, workdir: Path | None) -> str:
    """Makes the first batch and compiles the step of each phase; nothing is trained or written.

    Args:
      config: the configuration of the run.
      workdir: the work directory of a run to resume, whose configuration has to match; or None.

    Returns:
      The description of the run, its parameters by block, and for each phase the arrays of a batch,
      the device memory for a step, and the compile time.

    Raises:
      ConfigError: if the configuration is invalid; see `snnjax.train.loop.train`.
      DatasetNotPreparedError: if the data set has to be prepared first.
    """
    experiment = open_experiment(config)
    check_config(workdir, config)
    phases = experiment.phases
    lines = [describe_run(experiment, 0, [])]
    params = phases[-1].program.abstract_state().params
    lines += ['', 'parameters:', *_by_block(params)]
    for phase in phases:
        lines += ['', *_describe_step(phase)]
    return '\n'.join([*lines, '', 'nothing was trained, and nothing written'])


def _by_block(params: Any) -> list[str]:
    blocks: dict[str, Any] = {}
    for name, leaf in by_name(params).items():
        blocks.setdefault(block_of(name), []).append(leaf)
    width = max(map(len, blocks))
    return [f'  {name:{width}}  {count_parameters(b):12,}' for name, b in blocks.items()]


def _describe_step(phase: Phase) -> list[str]:
    program, batch = phase.program, phase.batches[0]
    abstract = program.abstract_batch(batch)
    start = time.perf_counter()
    compiled = program.train_step.lower(program.abstract_state(), abstract).compile()
    seconds = time.perf_counter() - start
    usage: Any = compiled.memory_analysis()
    title = f'phase {phase.name}' if phase.name else 'training'
    return [
        f'{title}: {count(len(phase.batches), "step")} in {count(phase.config.epochs, "epoch")}, '
        f'evaluated {count(-(-phase.config.epochs // phase.config.eval_every_epochs), "time")}',
        '  batch: ' + ', '.join(f'{k} {v.shape} {v.dtype}' for k, v in batch.items()),
        f'  memory of a step on each device: {usage.argument_size_in_bytes / 1e6:,.1f} MB of state '
        f'and batch, {usage.temp_size_in_bytes / 1e6:,.1f} MB while it is computed',
        f'  compiled in {seconds:.1f} s',
    ]
