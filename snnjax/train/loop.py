"""The training loop: evaluate, save, next batch, step, write."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from snnjax.data import Dataset, Split
from snnjax.data.pipeline import EvaluationBatches, TrainingBatches
from snnjax.train import metrics
from snnjax.train.checkpoints import Checkpoints
from snnjax.train.config import ConfigError, check, dataset_of, describe_split
from snnjax.train.interruption import StopRequest
from snnjax.train.log import TrainingLog, check_skipped
from snnjax.train.processes import is_first
from snnjax.train.program import Program, build_program
from snnjax.train.progress import Progress
from snnjax.train.sharding import make_mesh, put_batch
from snnjax.train.state import TrainState, count_parameters
from snnjax.train.weights import WeightsError, fit_weights, load_weights, write_description
from snnjax.train.writers import MetricWriter, check_config, write_config, write_environment


def train(config: ml_collections.ConfigDict, workdir: Path) -> bool:
    """Trains a model, or goes on with the training that ``workdir`` holds.

    Args:
      config: with the keys of `snnjax.train.config.default_config`.
      workdir: gets ``config.json``, ``model.json``, ``environment.jsonl``, ``metrics.jsonl``,
        ``checkpoints/`` and ``tensorboard/``.

    Returns:
      Whether training is finished; it is not after SIGTERM or Ctrl-C, which save and return.

    Raises:
      ConfigError: where the configuration cannot be run, or is not that of the run in ``workdir``.
      DatasetNotPreparedError: where the data has to be made first.
      DecodeError: for a photo that cannot be decoded, or too many of them to skip.
    """
    mesh = make_mesh()
    check(config, mesh.size)
    check_config(workdir, config)
    dataset = dataset_of(config)
    test_split = dataset.load('test')
    batches = training_batches(config, dataset.load('train'))
    program = build_program(config, mesh, batches.per_epoch)
    num_steps = len(batches)

    with Checkpoints(workdir / 'checkpoints', config.checkpoint.keep) as checkpoints:
        restored = checkpoints.restore_latest(program.abstract_state())
        state, position = restored or (program.init(), {'step': 0, 'unwritten': {}, 'skipped': 0})
        notes: list[str] = []
        if not restored and config.init_from:
            state, notes = _start_from(config.init_from, program, state)
        # Now it is a run: what could not be run has left nothing behind.
        if is_first():
            write_config(workdir, config)
            write_environment(workdir)
            write_description(workdir, *_describe_model(config, dataset))
        start = position['step']
        with (
            MetricWriter(workdir, start, enabled=is_first()) as writer,
            Progress(
                num_steps * config.batch_size, start * config.batch_size, enabled=is_first()
            ) as progress,
            StopRequest() as stop,
        ):
            progress.say(_describe(config, program, batches, test_split, start, notes))
            log = TrainingLog(
                writer,
                progress,
                log_every=config.log_every,
                steps_per_epoch=batches.per_epoch,
                schedule=program.schedule,
                unwritten=position['unwritten'],
                batch_size=config.batch_size,
                skipped=position['skipped'],
                max_skipped=config.data.max_skipped,
            )
            data = batches.iterate(start, config.data.workers)
            alone = jax.process_count() == 1
            for step in range(start, num_steps + 1):
                stopping, last = stop.requested if alone else log.stopping, step == num_steps
                # Whatever is due at the first step was done before its checkpoint was written.
                if step > start:
                    evaluation = None
                    if last or step % (config.eval_every_epochs * batches.per_epoch) == 0:
                        log.flush()
                        evaluation = evaluate(
                            program, state, test_split, config.eval_batch_size, config.data
                        )
                        epoch = step / batches.per_epoch
                        writer.write(step, {'epoch': epoch, **evaluation})
                        progress.say(_report(epoch, evaluation))
                        log.restart_clock()
                    every = config.checkpoint.every_steps
                    if evaluation or stopping or (every and step % every == 0):
                        unwritten = log.flush()
                        position = {'step': step, 'unwritten': unwritten, 'skipped': log.skipped}
                        checkpoints.save(step, state, position, evaluation)
                if last or stopping:
                    break
                with log.waiting():
                    batch = next(data)
                if not alone:
                    # All processes have to stop after the same step: they tell each other with it.
                    batch['stop'] = np.full(len(batch['label']), stop.requested)
                state, sums = program.train_step(state, put_batch(batch, program.batch_sharding))
                log.push(step + 1, sums)
    return last


def evaluate(
    program: Program,
    state: TrainState,
    split: Split,
    batch_size: int,
    data: ml_collections.ConfigDict,
) -> dict[str, float]:
    """``eval/loss``, ``eval/accuracy`` and ``eval/firing_rate``: means over every image once.

    Args:
      program: of the run.
      state: with the weights.
      split: the images.
      batch_size: over all devices.
      data: the configuration's, for ``workers`` and ``max_skipped``.

    Returns:
      The means; also ``eval/skipped`` where photos could not be decoded, and do not count.

    Raises:
      DecodeError: for a photo that cannot be decoded, or too many of them to skip.
    """
    batches = EvaluationBatches(
        split, batch_size, process_index=jax.process_index(), process_count=jax.process_count()
    ).iterate(data.workers)
    total: dict[str, float] = {}
    results = (program.eval_step(state, put_batch(b, program.batch_sharding)) for b in batches)
    for sums in metrics.fetch_late(results):
        total = metrics.add(total, sums)
    skipped = len(split) - int(total['images'])
    check_skipped(skipped, data.max_skipped)
    return metrics.means(total, 'eval') | ({'eval/skipped': skipped} if skipped else {})


def training_batches(config: ml_collections.ConfigDict, split: Split) -> TrainingBatches:
    """The batches of a run.

    Args:
      config: of the run.
      split: its training images.

    Raises:
      ConfigError: where they are fewer than a batch.
    """
    per_epoch = len(split) // config.batch_size
    if per_epoch == 0:
        raise ConfigError(
            f'batch_size={config.batch_size} must be at most the {len(split)} training images'
        )
    return TrainingBatches(
        split,
        config.batch_size,
        config.seed,
        num_batches=config.epochs * per_epoch,
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _start_from(source: str, program: Program, state: TrainState) -> tuple[TrainState, list[str]]:
    """A new state with weights from elsewhere, and what there is to say about it."""
    try:
        variables, kept = fit_weights(
            program.model, state.variables, load_weights(source), new_classifier=True
        )
    except WeightsError as error:
        raise ConfigError(f'init_from={source}: {error}') from error
    variables = jax.device_put(variables, program.state_sharding)
    notes = [f'weights from {source}'] + [f'{name} starts anew' for name in kept]
    state = state._replace(**variables)
    if state.average:
        # Of its own: what a step is given it may overwrite.
        state = state._replace(average=jax.tree.map(jnp.copy, variables))
    return state, notes


def _describe_model(config: ml_collections.ConfigDict, dataset: Dataset) -> tuple[str, dict]:
    """What another program has to know to use the weights."""
    options = {
        key: value
        for key, value in config.model.items()
        if value is not None and key not in ('name', 'scan_layers', 'remat')
    }
    shape = {'num_classes': dataset.num_classes, 'in_channels': dataset.image_shape[-1]}
    return config.model.name, options | shape


def _describe(
    config: ml_collections.ConfigDict,
    program: Program,
    batches: TrainingBatches,
    test_split: Split,
    start: int,
    notes: list[str],
) -> str:
    parameters = count_parameters(program.abstract_state().params)
    devices = jax.devices()
    begin = f'continuing at step {start:,}' if start else 'starting'
    return (
        f'{config.model.name}: {parameters:,} parameters, {config.model.num_steps} time steps\n'
        f'{config.data.name}: {len(batches.split):,} training and {len(test_split):,} test images'
        f'{describe_split(config)}\n'
        f'{begin} of {len(batches):,} steps of {config.batch_size} images '
        f'on {len(devices)} {devices[0].device_kind} device{"s" if len(devices) > 1 else ""}'
        + (f' of {jax.process_count()} processes' if jax.process_count() > 1 else '')
        + ''.join(f'\n{note}' for note in notes)
    )


def _report(epoch: float, evaluation: dict[str, float]) -> str:
    return (
        f'epoch {epoch:g}: test loss {evaluation["eval/loss"]:.3f}, '
        f'accuracy {evaluation["eval/accuracy"]:.4f}, '
        f'firing rate {evaluation["eval/firing_rate"]:.3f}'
    )
