"""The training loop: evaluate, save, next batch, step, write."""

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
from snnjax.train.utilisation import utilisation
from snnjax.weights.fit import fit_weights
from snnjax.weights.folder import load_weights, trained_otherwise, write_description


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What training has come to.

    Attributes:
      finished: whether it is at its end; it is not after SIGTERM, SIGHUP or Ctrl-C.
      metrics: of the last evaluation of the run, as ``eval/accuracy``; none where there was none.
      state: at the last step that was taken.
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
    """Trains a model, or goes on with the training that ``workdir`` holds.

    SIGTERM, SIGHUP and Ctrl-C save and return. Outside the main thread of a program there are no
    signals to hear of.

    Args:
      config: with the keys of `snnjax.train.config.default_config`.
      workdir: gets ``config.json``, ``model.json``, ``environment.jsonl``, ``metrics.jsonl``,
        ``checkpoints/`` and ``tensorboard/``.
      verbose: print what is trained, its progress and its evaluations. Warnings are printed always.
      profile: the steps of the run to trace, into the folder ``profile``; None for none.

    Raises:
      ConfigError: where the configuration cannot be run, or is not that of the run in ``workdir``.
      CheckpointError: where checkpoints cannot be read or written, or are of another model.
      DatasetNotPreparedError: where the data has to be made first.
      DecodeError: for a photo that cannot be decoded, or too many of them to skip.
      NonFiniteError: where numbers are not finite, and that is not to be passed over.
      WorkdirError: where ``workdir`` cannot be written to, or another command works in it.
    """
    # Until all is saved a signal is only noted.
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
        _own(workdir, config),
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
        # Now it is a run: what cannot be run does not become one.
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
def _own(workdir: Path, config: ml_collections.ConfigDict) -> Iterator[None]:
    """Keeps a work directory to this run, if it has no other one.

    One that was made here goes again if no run began in it.
    """
    made = is_first() and not in_bucket(workdir) and not os.path.isdir(workdir)  # noqa: PTH112
    with lock(workdir) if is_first() else contextlib.nullcontext():
        try:
            # Under the lock: before it another command may have begun a run here.
            check_config(workdir, config)
            yield
        finally:
            if made and not (workdir / 'config.json').exists():
                _remove_empty(workdir)


def _remove_empty(workdir: Path) -> None:
    """Removes a work directory that no run began in; what else is in it stays."""
    for remove in ((workdir / 'checkpoints').rmdir, (workdir / LOCK_FILE).unlink, workdir.rmdir):
        with contextlib.suppress(OSError):
            remove()


class _Run(NamedTuple):
    """What a run has beside its phases."""

    checkpoints: Checkpoints
    writer: MetricWriter
    progress: Progress
    stop: StopRequest
    profiler: Profiler


class _Point(NamedTuple):
    """Where the training of a phase stands.

    Attributes:
      state: to go on from.
      position: of the log.
      step: of the phase.
      done: the step up to which everything that is due has been done; before ``step`` where the
        weights are of an earlier one.
    """

    state: TrainState
    position: dict[str, Any]
    step: int
    done: int


def _begin(
    experiment: Experiment, checkpoints: Checkpoints
) -> tuple[int, TrainState, dict[str, Any], list[str]]:
    """The step of the run, its state and position there, and what there is to say about them."""
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
        # The first line says that they do not fit, the others where.
        _, *places = str(error).splitlines()
        only_classifier = places and all(f' {CLASSIFIER}' in place for place in places)
        hint = '\nto start the classifier anew, add --config.reset_head=true'
        raise ConfigError(
            f'init_from={source}: {error}{hint if only_classifier else ""}'
        ) from error
    notes = [f'weights from {source}'] + [f'{name} starts anew' for name in kept]
    notes += trained_otherwise(source, program.model)
    return 0, _start(program, variables), START, notes


def _train_phase(
    run: _Run, phase: Phase, following: Phase | None, point: _Point
) -> tuple[TrainState, bool]:
    """Trains a phase to its end; returns the state, and whether it got there."""
    while True:
        try:
            return _train_steps(run, phase, following, point)
        except NonFiniteError as fault:
            point = _roll_back(phase, fault, run.checkpoints)
            weights = phase.first_step + point.done
            run.progress.say(f'{fault}: going on with the weights of step {weights:,}')


def _roll_back(phase: Phase, fault: NonFiniteError, checkpoints: Checkpoints) -> _Point:
    """Where to go on after a step that cannot be taken.

    The weights are of the last checkpoint that every run writes, not of one where this run was
    stopped.

    Raises:
      NonFiniteError: the fault, if it has to end the run, or there is none in the phase.
    """
    if fault.position is None:
        raise fault
    first, step = phase.first_step, fault.step - phase.first_step
    done = max((step - 1) // period * period for period in phase.periods)
    if done == 0:
        reason = ', and there is no checkpoint of the phase yet to go back to'
        raise NonFiniteError(fault.step, fault.place, reason) from fault
    try:
        program = phase.program
        newest = checkpoints.restore_newest(
            lambda _: program.abstract_state(), within=range(first + 1, first + done + 1)
        )
    except CheckpointError as error:
        raise NonFiniteError(fault.step, fault.place, f', and {error}') from fault
    if newest is None:
        reason = f', and the checkpoint of step {first + done:,} to go back to is gone'
        raise NonFiniteError(fault.step, fault.place, reason) from fault
    done = newest.step - first
    return _Point(passed_over(newest.state, step - done), fault.position, step, done)


def _train_steps(
    run: _Run, phase: Phase, following: Phase | None, point: _Point
) -> tuple[TrainState, bool]:
    """Takes the steps of a phase that are left; see `_train_phase`.

    What the weights do in the phase that follows, before they are trained further, is written as
    ``extended/...`` (table 9).
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
        measure=utilisation(phase),
    )
    feed = Feed(phase, point.step)
    alone = jax.process_count() == 1
    step = point.step
    while True:
        is_time = checkpoints.are_due(config.checkpoint.every_minutes)
        stopping, saving = (stop.requested, is_time) if alone else (log.stopping, log.saving)
        last = step == len(batches)
        # Whatever is due at the first step was done before its checkpoint was written.
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
                # The best is that of the last phase: the model is described in its form.
                best_by = None if following else evaluation
                writer.flush()
                checkpoints.save(phase.first_step + step, state, position, best_by)
                log.saving = False
        if said := profiler.at(phase.first_step + step, state):
            progress.say(said)
        if last or stopping:
            break
        # After a rollback, where less is done than that, all is compiled.
        begins = step == point.step == point.done
        stops = [phase.next_stop(step), *profiler.stops_after(step, phase.first_step)]
        count = min(feed.steps or 1, min(stops) - step)
        # All processes have to stop and save after the same step: they tell each other with it.
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
    # A stop may have come with the last step.
    return state, last and not (following and log.stopping)


def _start(program: Program, variables: Mapping[str, Any]) -> TrainState:
    """A new state but for its weights."""
    state = program.init()._replace(**jax.device_put(variables, program.state_sharding.variables))
    if state.average:
        # Of its own: what a step is given it may overwrite.
        state = state._replace(average=jax.tree.map(jnp.copy, state.variables))
    return state


def _describe_model(phase: Phase) -> tuple[str, dict]:
    """What another program has to know to use the weights."""
    name, options = model_options(phase.config)
    of_machine = ('scan_layers', 'remat')
    kept = {key: value for key, value in options.items() if key not in of_machine}
    model = phase.program.model
    return name, kept | {'num_classes': model.num_classes, 'in_channels': model.in_channels}


def _describe_inputs(phase: Phase) -> dict[str, Any]:
    """What it takes to use the weights elsewhere: images, names of classes, modules to import."""
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
