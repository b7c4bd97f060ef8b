"""The training loop: evaluation, checkpoints, batches, steps and metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from snnjax import known
from snnjax.data import DataOptions
from snnjax.data.datasets import class_names
from snnjax.data.transforms.preprocessing import preprocessing_of
from snnjax.errors import ConfigError, WeightsError
from snnjax.models import Network
from snnjax.models.params import CLASSIFIER
from snnjax.modules import note_modules
from snnjax.paths import expand, in_bucket
from snnjax.train.checkpoints import CheckpointError, Checkpoints
from snnjax.train.config import flatten, logger_names, model_options
from snnjax.train.description import describe_phase, describe_run
from snnjax.train.evaluation import evaluate
from snnjax.train.experiment import Experiment, Phase, open_experiment
from snnjax.train.feed import Feed
from snnjax.train.finite import NonFiniteError, passed_over, places
from snnjax.train.log import START, TrainingLog
from snnjax.train.metric_writer import METRICS_FILE, MetricWriter, read_metrics
from snnjax.train.processes import is_first
from snnjax.train.profiling import Profiler, Window
from snnjax.train.program import Program
from snnjax.train.progress import Progress
from snnjax.train.run_directory import (
    LOCK_FILE,
    check_config,
    lock,
    write_config,
    write_environment,
)
from snnjax.train.signals import StopRequest
from snnjax.train.state import TrainState
from snnjax.train.utilization import utilization
from snnjax.weights.fit import fit_weights
from snnjax.weights.folder import load_weights, trained_otherwise, write_description


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of `train`.

    Attributes:
      finished: true if all steps were taken, false after SIGTERM, SIGHUP or Ctrl-C.
      metrics: the metrics of the last evaluation, such as ``eval/accuracy``; {} without evaluation.
      state: the state after the last step.
      model: the network of the last phase; ``state.evaluated`` are its variables.
    """

    finished: bool
    metrics: Mapping[str, float]
    state: TrainState
    model: Network


def train(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    *,
    verbose: bool = True,
    profile: Window | None = None,
) -> TrainingResult:
    """Trains a model, or resumes the training in ``workdir``.

    After SIGTERM, SIGHUP or Ctrl-C, the function saves a checkpoint and returns. Signals are
    handled in the main thread only.

    Args:
      config: the configuration, with the keys of `snnjax.train.config.default_config`.
      workdir: the work directory of the run. It gets ``config.json``, ``model.json``,
        ``environment.jsonl``, ``metrics.jsonl``, ``checkpoints/`` and ``tensorboard/``.
      verbose: true to print the description of the run, its progress and its evaluations. Warnings
        are always printed.
      profile: the steps of the run to trace into the folder ``profile``, or None.

    Raises:
      ConfigError: if the configuration is invalid, or is not that of the run in ``workdir``.
      CheckpointError: if checkpoints cannot be read or written, or belong to another model.
      DatasetNotPreparedError: if the data set has to be prepared first.
      DecodeError: if a photo cannot be decoded, or more of them than may be skipped.
      NonFiniteError: if numbers are not finite, unless ``on_non_finite`` lets training continue.
      WorkdirError: if ``workdir`` cannot be written to, or another command is using it.
    """
    # Signals only set a flag until everything is saved.
    with StopRequest() as stop:
        workdir = expand(workdir)
        return _train(config, workdir, stop, verbose, Profiler(profile, workdir))


def _train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    stop: StopRequest,
    verbose: bool,
    profiler: Profiler,
) -> TrainingResult:
    experiment = open_experiment(config)
    phases, model = experiment.phases, experiment.last.program.model
    shown = is_first() and verbose

    with (
        _own(workdir, config, stop),
        Checkpoints(
            workdir / 'checkpoints',
            config.checkpoint.keep,
            is_due=experiment.is_due,
            beside=[] if in_bucket(workdir) else [workdir / METRICS_FILE],
        ) as checkpoints,
    ):
        start, state, position, notes = _begin(experiment, checkpoints)
        number = experiment.phase_at(start)
        about = _describe_inputs(experiment.last)
        # Write these files only now, so that a configuration that fails does not become a run.
        if is_first():
            write_config(workdir, config)
            write_environment(workdir)
            for phase in phases:
                known.note_folder(phase.config.data.dir)
            note_modules(config.imports)
            write_description(workdir, *_describe_model(experiment.last), about)
        images = [len(phase.batches) * phase.config.batch_size for phase in phases]
        done = (start - phases[number].first_step) * phases[number].config.batch_size
        with (
            MetricWriter(
                workdir,
                start,
                enabled=is_first(),
                also=logger_names(config),
                config=flatten(config),
            ) as writer,
            Progress(sum(images), sum(images[:number]) + done, enabled=shown) as progress,
            profiler.ended(),
        ):
            progress.say(describe_run(experiment, start, notes))
            run = _Run(checkpoints, writer, progress, stop, profiler)
            for phase, following in zip(
                phases[number:], [*phases[number + 1 :], None], strict=True
            ):
                if len(phases) > 1:
                    progress.say(describe_phase(phase))
                begin = max(0, start - phase.first_step)
                point = _Point(state, position, begin, done=begin)
                state, finished = _train_phase(run, phase, following, point)
                if not finished:
                    break
                if following:
                    state = _start(following.program, state.evaluated)
                    position = START
    return TrainingResult(finished, _last_evaluation(workdir), state, model)


def _last_evaluation(workdir: Path) -> dict[str, float]:
    evaluations = [record for record in read_metrics(workdir) if 'eval/accuracy' in record]
    return evaluations[-1] if evaluations else {}


@contextlib.contextmanager
def _own(workdir: Path, config: ml_collections.ConfigDict, stop: StopRequest) -> Iterator[None]:
    """Locks a work directory for this run, and checks that it holds no other run.

    A work directory that was created here is removed if no run begins in it.
    """
    made = is_first() and not in_bucket(workdir) and not os.path.isdir(workdir)  # noqa: PTH112
    with lock(workdir, lambda: stop.requested) if is_first() else contextlib.nullcontext():
        try:
            # Check under the lock: another command may have started a run here before it.
            check_config(workdir, config)
            yield
        finally:
            if made and not (workdir / 'config.json').exists():
                _remove_empty(workdir)


def _remove_empty(workdir: Path) -> None:
    """Removes a work directory without a run, unless it holds other files."""
    for remove in ((workdir / 'checkpoints').rmdir, (workdir / LOCK_FILE).unlink, workdir.rmdir):
        with contextlib.suppress(OSError):
            remove()


class _Run(NamedTuple):
    """The objects that all phases of a run share."""

    checkpoints: Checkpoints
    writer: MetricWriter
    progress: Progress
    stop: StopRequest
    profiler: Profiler


class _Point(NamedTuple):
    """A point in the training of a phase.

    Attributes:
      state: the state to continue from.
      position: the position of the log.
      step: the number of steps of the phase so far.
      done: the step up to which all evaluations and checkpoints are done. It is less than ``step``
        if the weights are those of an earlier step.
    """

    state: TrainState
    position: dict[str, Any]
    step: int
    done: int


def _begin(
    experiment: Experiment, checkpoints: Checkpoints
) -> tuple[int, TrainState, dict[str, Any], list[str]]:
    """Returns the step to begin at, the state and position there, and notes for the user."""
    config, phases = experiment.config, experiment.phases
    newest = checkpoints.restore_newest(
        lambda step: phases[experiment.phase_at(step)].program.abstract_state()
    )
    if newest:
        return *newest, []
    program, source = phases[0].program, config.init_from
    state = program.init()
    if not source:
        return 0, state, START, []
    try:
        variables, kept = fit_weights(
            program.model,
            state.variables,
            load_weights(source),
            reset_head=config.reset_head,
        )
    except WeightsError as error:
        # The first line says that the weights do not fit; the others name the parameters.
        _, *places = str(error).splitlines()
        only_classifier = places and all(f' {CLASSIFIER}' in place for place in places)
        hint = '\nto initialize the classifier anew, add --config.reset_head=true'
        raise ConfigError(
            f'init_from={source}: {error}{hint if only_classifier else ""}'
        ) from error
    notes = [f'weights from {source}'] + [f'{name} is initialized anew' for name in kept]
    notes += trained_otherwise(source, program.model)
    return 0, _start(program, variables), START, notes


def _train_phase(
    run: _Run, phase: Phase, following: Phase | None, point: _Point
) -> tuple[TrainState, bool]:
    """Trains a phase; returns the state, and whether all steps of the phase were taken."""
    while True:
        try:
            return _train_steps(run, phase, following, point)
        except NonFiniteError as fault:
            point = _roll_back(phase, fault, run.checkpoints)
            weights = phase.first_step + point.done
            run.progress.say(f'{fault}: continuing with the weights of step {weights:,}')


def _roll_back(phase: Phase, fault: NonFiniteError, checkpoints: Checkpoints) -> _Point:
    """Returns the point to continue from after a step with non-finite numbers.

    The weights come from the last checkpoint that every run writes. A checkpoint that exists only
    because this run was stopped does not count.

    Raises:
      NonFiniteError: if the fault has to end the run, or the phase has no such checkpoint.
    """
    if fault.position is None:
        raise fault
    first, step = phase.first_step, fault.step - phase.first_step
    done = max((step - 1) // period * period for period in phase.periods)
    if done == 0:
        reason = ', and the phase has no checkpoint yet to roll back to'
        raise NonFiniteError(fault.step, fault.place, reason) from fault
    try:
        program = phase.program
        newest = checkpoints.restore_newest(
            lambda _: program.abstract_state(), within=range(first + 1, first + done + 1)
        )
    except CheckpointError as error:
        raise NonFiniteError(fault.step, fault.place, f', and {error}') from fault
    if newest is None:
        reason = f', and the checkpoint of step {first + done:,} to roll back to is missing'
        raise NonFiniteError(fault.step, fault.place, reason) from fault
    done = newest.step - first
    return _Point(passed_over(newest.state, step - done), fault.position, step, done)


def _train_steps(
    run: _Run, phase: Phase, following: Phase | None, point: _Point
) -> tuple[TrainState, bool]:
    """Takes the remaining steps of a phase, and returns the result of `_train_phase`.

    At the end of a phase, the weights are also evaluated in the form of the following phase, before
    they are trained further. The metrics are written as ``extended/...`` (table 9).
    """
    config, program, batches = phase.config, phase.program, phase.batches
    checkpoints, writer, progress, stop, profiler = run
    state = point.state

    def write(step: int, values: Mapping[str, float]) -> None:
        writer.write(phase.first_step + step, {'epoch': phase.epoch(step), **values})

    def evaluate_in(phase: Phase) -> dict[str, float]:
        size, data = phase.config.eval_batch_size, phase.config.data
        with progress.pausing('evaluating'):
            return evaluate(phase.program, state.evaluated, phase.test_split, size, data)

    log = TrainingLog(
        write,
        progress,
        config=config,
        schedule=program.schedule,
        places=places(program.abstract_state().variables),
        first_step=phase.first_step,
        last_step=len(batches),
        position=point.position,
        measure=utilization(phase),
    )
    feed = Feed(phase, point.step)
    alone = jax.process_count() == 1
    step = point.step
    while True:
        is_time = checkpoints.are_due(config.checkpoint.every_minutes)
        stopping, saving = (stop.requested, is_time) if alone else (log.stopping, log.saving)
        last = step == len(batches)
        # Everything due at the first step was done before its checkpoint was written.
        if step > point.done:
            evaluation = None
            if last or step % (config.eval_every_epochs * batches.per_epoch) == 0:
                log.flush()
                evaluation = evaluate_in(phase)
                progress.say(_report(f'epoch {phase.epoch(step):g}', evaluation))
                if last and following:
                    extended = evaluate_in(following)
                    num_steps = following.config.model.num_steps
                    progress.say(_report(f'the same at T={num_steps}', extended))
                    evaluation |= {
                        key.replace('eval/', 'extended/'): value for key, value in extended.items()
                    }
                write(step, evaluation)
                log.restart_clock()
            every = config.checkpoint.every_steps
            if evaluation or stopping or saving or (every and step % every == 0):
                position = log.flush()
                # Only the last phase has a best checkpoint: model.json describes its model.
                best_by = None if following else evaluation
                writer.flush()
                checkpoints.save(phase.first_step + step, state, position, best_by)
                log.saving = False
        if said := profiler.at(phase.first_step + step, state):
            progress.say(said)
        if last or stopping:
            break
        # After a rollback (done < step), everything is compiled already.
        begins = step == point.step == point.done
        stops = [phase.next_stop(step), *profiler.stops_after(step, phase.first_step)]
        count = min(feed.steps or 1, min(stops) - step)
        # All processes have to stop and save after the same step: the batch carries their flags.
        flags = {} if alone else {'stop': stop.requested, 'save': is_time and is_first()}
        with progress.pausing('compiling') if begins else contextlib.nullcontext():
            with log.waiting():
                batch = feed.take(count, flags)
            if begins:
                progress.say('compiling the training step')
            if feed.steps:
                state, sums = program.train_steps(state, batch, count)
            else:
                state, sums = program.train_step(state, batch)
        if begins:
            log.restart_clock()
        step += count
        log.push(step, sums, count)
    # The request to stop may have come with the last step.
    return state, last and not (following and log.stopping)


def _start(program: Program, variables: Mapping[str, Any]) -> TrainState:
    """Returns a new state with the given weights."""
    state = program.init()._replace(**jax.device_put(variables, program.state_sharding.variables))
    if state.average:
        # The average needs its own arrays, since a step donates its input buffers.
        state = state._replace(average=jax.tree.map(jnp.copy, state.variables))
    return state


def _describe_model(phase: Phase) -> tuple[str, dict]:
    """Returns the name and the options of a model that holds the weights, for ``model.json``."""
    name, options = model_options(phase.config)
    of_machine = ('scan_layers', 'remat')
    kept = {key: value for key, value in options.items() if key not in of_machine}
    model = phase.program.model
    return name, kept | {'num_classes': model.num_classes, 'in_channels': model.in_channels}


def _describe_inputs(phase: Phase) -> dict[str, Any]:
    """Returns the preprocessing of images, the class names and the modules, for ``model.json``."""
    options = DataOptions(**phase.config.data)
    names = class_names(options) or [str(label) for label in range(phase.dataset.num_classes)]
    preprocessing = preprocessing_of(phase.dataset, phase.test_split, options)
    modules = {'imports': phase.config.imports} if phase.config.imports else {}
    return preprocessing.to_json() | {'classes': names} | modules


def _report(what: str, evaluation: dict[str, float]) -> str:
    top5 = evaluation.get('eval/accuracy_top5')
    return (
        f'{what}: test loss {evaluation["eval/loss"]:.3f}, '
        f'accuracy {evaluation["eval/accuracy"]:.4f}, '
        + (f'top-5 accuracy {top5:.4f}, ' if top5 is not None else '')
        + f'firing rate {evaluation["eval/firing_rate"]:.3f}'
    )
