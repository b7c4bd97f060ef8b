"""What runs on the devices: the functions of a run, sharded and ready to be compiled."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
import optax
from jax.sharding import Mesh, NamedSharding

from snnjax.models import Network, compiler_options
from snnjax.train import sharding
from snnjax.train.config import build_model, dataset_of
from snnjax.train.losses import LOSSES
from snnjax.train.optimizers import make_optimizer, make_schedule
from snnjax.train.state import TrainState, init_state
from snnjax.train.step import make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled functions of a run, and how their arguments lie on the devices.

    Attributes:
      model: the network.
      schedule: learning rate by step.
      init: ``() -> state``.
      train_step: ``(state, batch) -> (state, sums)``; the old state is donated.
      eval_step: ``(variables, batch) -> sums``.
      state_sharding: of a state, in its form.
      batch_sharding: of every array of a batch.
    """

    model: Network
    schedule: optax.Schedule
    init: Callable[[], TrainState]
    train_step: jax.stages.Wrapped
    eval_step: jax.stages.Wrapped
    state_sharding: TrainState
    batch_sharding: NamedSharding

    def abstract_state(self) -> Any:
        """The state's shapes, dtypes and shardings, without computing anything."""
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            jax.eval_shape(self.init),
            self.state_sharding,
        )

    def abstract_batch(self, batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes, dtypes and sharding of a batch, of arrays or what has shapes and dtypes."""
        return {
            key: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=self.batch_sharding)
            for key, value in batch.items()
        }


def build_program(config: ml_collections.ConfigDict, mesh: Mesh, steps_per_epoch: int) -> Program:
    """The functions of the run that ``config`` describes, for the devices of ``mesh``."""
    dataset = dataset_of(config)
    model = build_model(config, dataset)
    schedule = make_schedule(config.optimizer, steps_per_epoch, config.epochs * steps_per_epoch)
    optimizer = make_optimizer(config.optimizer, schedule)
    loss = LOSSES[config.loss]
    init = functools.partial(
        init_state,
        model,
        optimizer,
        dataset.image_shape,
        config.seed,
        average=config.average_decay > 0,
    )
    everywhere, by_image = sharding.replicated(mesh), sharding.batch_sharded(mesh)
    of_state = sharding.parameter_shardings(jax.eval_shape(init), mesh)
    jit = functools.partial(
        jax.jit, compiler_options=compiler_options(mesh.devices.flat[0].platform)
    )
    return Program(
        model=model,
        schedule=schedule,
        init=jax.jit(init, out_shardings=of_state),
        train_step=jit(
            make_train_step(
                model,
                optimizer,
                dataset,
                mesh,
                loss=loss,
                label_smoothing=config.label_smoothing,
                microbatches=config.microbatches,
                average_decay=config.average_decay,
                gradient_norms=config.gradient_norms,
                keep_finite=config.on_non_finite != 'stop',
                seed=config.seed,
            ),
            in_shardings=(of_state, by_image),
            out_shardings=(of_state, everywhere),
            donate_argnums=0,
        ),
        eval_step=jit(
            make_eval_step(model, dataset, mesh, loss),
            in_shardings=(of_state.variables, by_image),
            out_shardings=everywhere,
        ),
        state_sharding=of_state,
        batch_sharding=by_image,
    )
