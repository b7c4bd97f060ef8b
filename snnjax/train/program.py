"""The compiled functions of a network, and the sharding of their arguments."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import ml_collections
import optax
from jax.sharding import Mesh, NamedSharding

from snnjax.data import Dataset
from snnjax.models import Network, compiler_options
from snnjax.models.compilation import drawing_options
from snnjax.train import sharding
from snnjax.train.losses import LOSSES, Loss
from snnjax.train.optimizers import make_optimizer, make_schedule
from snnjax.train.state import TrainState, init_state, init_variables
from snnjax.train.step import StepOptions, make_eval_step, make_train_step, repeat_step


@dataclasses.dataclass(frozen=True)
class Inference:
    """The part of a program that evaluation, analysis and export use.

    Attributes:
      model: the network.
      dataset: the data set.
      eval_step: the function ``(variables, batch) -> sums``.
      variables_sharding: the shardings of the model's variables, with the same tree structure.
      batch_sharding: the sharding of every array of a batch.
    """

    model: Network
    dataset: Dataset
    eval_step: jax.stages.Wrapped
    variables_sharding: dict[str, Any]
    batch_sharding: NamedSharding

    @property
    def mesh(self) -> Mesh:
        """The devices."""
        return cast(Mesh, self.batch_sharding.mesh)

    def init_variables(self, seed: int) -> dict[str, Any]:
        """Returns the variables that a training with this seed begins with, on the devices."""
        init = functools.partial(init_variables, self.model, self.dataset.image_shape)
        jit = functools.partial(jax.jit, compiler_options=drawing_options(_platform(self.mesh)))
        return jit(init, static_argnums=0, out_shardings=self.variables_sharding)(seed)

    def abstract_variables(self) -> dict[str, Any]:
        """Returns the variables' shapes, dtypes and shardings, without computing anything."""
        init = functools.partial(init_variables, self.model, self.dataset.image_shape, 0)
        return _with_sharding(jax.eval_shape(init), self.variables_sharding)

    def abstract_batch(self, batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes, dtypes and sharding of a batch of arrays or of array descriptions."""
        return {
            key: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=self.batch_sharding)
            for key, value in batch.items()
        }


@dataclasses.dataclass(frozen=True)
class Program(Inference):
    """The compiled functions of a training, and the shardings of their arguments.

    Attributes:
      schedule: the learning rate by step.
      init: the function ``() -> state``.
      train_step: the function ``(state, batch) -> (state, sums)``; the old state is donated.
      train_steps: the function ``(state, batches, count) -> (state, sums)`` for several steps, see
        `snnjax.train.step.repeat_step`; the old state is donated.
      batches_sharding: the sharding of every array of the batches of several steps.
      state_sharding: the shardings of a state, with the same tree structure.
    """

    schedule: optax.Schedule
    init: Callable[[], TrainState]
    train_step: jax.stages.Wrapped
    train_steps: jax.stages.Wrapped
    state_sharding: TrainState
    batches_sharding: NamedSharding

    def abstract_state(self) -> Any:
        """Returns the state's shapes, dtypes and shardings, without computing anything."""
        return _with_sharding(jax.eval_shape(self.init), self.state_sharding)


def _with_sharding(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def build_inference(model: Network, dataset: Dataset, mesh: Mesh, loss: Loss) -> Inference:
    """Builds the functions that evaluate a network.

    Args:
      model: the network.
      dataset: the data set.
      mesh: the devices, over which batches are divided, and parameters if ``fsdp`` is above 1.
      loss: the loss that evaluation reports.
    """
    init = functools.partial(init_variables, model, dataset.image_shape, 0)
    of_variables = sharding.parameter_shardings(jax.eval_shape(init), mesh)
    return _inference(model, dataset, mesh, loss, of_variables)


def _inference(
    model: Network,
    dataset: Dataset,
    mesh: Mesh,
    loss: Loss,
    of_variables: dict[str, Any],
    deterministic: bool = False,
) -> Inference:
    by_image = sharding.batch_sharded(mesh)
    return Inference(
        model=model,
        dataset=dataset,
        eval_step=_jit(mesh, deterministic)(
            make_eval_step(model, dataset, mesh, loss),
            in_shardings=(of_variables, by_image),
            out_shardings=sharding.replicated(mesh),
        ),
        variables_sharding=of_variables,
        batch_sharding=by_image,
    )


def build_program(
    config: ml_collections.ConfigDict,
    dataset: Dataset,
    model: Network,
    mesh: Mesh,
    steps_per_epoch: int,
) -> Program:
    """Builds the functions that train a network.

    Args:
      config: the configuration of the phase.
      dataset: the data set of the configuration.
      model: the network of the configuration.
      mesh: the devices.
      steps_per_epoch: the number of batches in the training set.
    """
    schedule = make_schedule(config.optimizer, steps_per_epoch, config.epochs * steps_per_epoch)
    optimizer = make_optimizer(config.optimizer, schedule)
    loss = LOSSES[config.loss]
    init = functools.partial(
        init_state,
        model,
        optimizer,
        dataset.image_shape,
        config.seed,
        average=config.ema_decay > 0,
    )
    of_state = sharding.parameter_shardings(jax.eval_shape(init), mesh)
    inference = _inference(model, dataset, mesh, loss, of_state.variables, config.deterministic)
    options = StepOptions(
        loss=loss,
        label_smoothing=config.label_smoothing,
        microbatches=config.microbatches,
        ema_decay=config.ema_decay,
        gradient_norms=config.gradient_norms,
        keep_finite=config.on_non_finite != 'stop',
        seed=config.seed,
    )
    train_step = make_train_step(model, optimizer, dataset, mesh, options)
    jit = _jit(mesh, config.deterministic)
    of_sums, of_batches = sharding.replicated(mesh), sharding.batches_sharded(mesh)
    return Program(
        **vars(inference),
        schedule=schedule,
        init=jax.jit(
            init, out_shardings=of_state, compiler_options=drawing_options(_platform(mesh))
        ),
        train_step=jit(
            train_step,
            in_shardings=(of_state, inference.batch_sharding),
            out_shardings=(of_state, of_sums),
            donate_argnums=0,
        ),
        train_steps=jit(
            repeat_step(train_step, of_state),
            in_shardings=(of_state, of_batches, None),
            out_shardings=(of_state, of_sums),
            donate_argnums=0,
        ),
        state_sharding=of_state,
        batches_sharding=of_batches,
    )


def _jit(mesh: Mesh, deterministic: bool) -> Callable[..., Any]:
    options = compiler_options(_platform(mesh), deterministic=deterministic)
    return functools.partial(jax.jit, compiler_options=options)


def _platform(mesh: Mesh) -> str:
    return cast(str, mesh.devices.flat[0].platform)
