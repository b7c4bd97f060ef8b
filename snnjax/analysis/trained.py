"""A trained model with the examples that it is looked at on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from snnjax.data import DataOptions, Dataset, Split
from snnjax.data.datasets import READY
from snnjax.data.options import EVALUATION, max_workers
from snnjax.data.pipeline import EvaluationBatches
from snnjax.data.splits import EvenlySpaced
from snnjax.errors import UserError
from snnjax.models import Network, compiler_options
from snnjax.models.network import DEFAULT_NUM_STEPS
from snnjax.models.observation import unrolled
from snnjax.train import data_folders, metrics
from snnjax.train.config import ConfigError, check, dataset_of, default_config, describe_split
from snnjax.train.loop import evaluate
from snnjax.train.program import Program, build_program
from snnjax.train.sharding import batch_sharded, make_mesh, put_batch, replicated
from snnjax.train.step import normalise
from snnjax.train.weights import describe_weights, fit_weights, load_weights
from snnjax.train.writers import read_config


class UnsuitableModelError(UserError, ValueError):
    """A model that an analysis cannot be made of; the message says why."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model, its variables, and examples of a data set.

    Attributes:
      config: of the model and the data.
      dataset: of the examples.
      program: what runs on the devices.
      variables: of the model, as they lie on the devices.
      split_name: 'test' or 'train'; images of both are as in testing.
      examples: of that split, all or some.
    """

    config: ml_collections.ConfigDict
    dataset: Dataset
    program: Program
    variables: Mapping[str, Any]
    split_name: str
    examples: Split

    @property
    def model(self) -> Network:
        """The network, each of its layers for itself."""
        return unrolled(self.program.model)

    @property
    def num_steps(self) -> int:
        """Time steps T."""
        return self.config.model.num_steps

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of an example, or (T, H, W, C)."""
        return self.examples.examples(np.arange(1))['image'].shape[1:]

    def normalised(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The images of a batch as the model takes them."""
        return normalise(batch['image'], self.dataset)

    def describe(self) -> str:
        """Which model on which examples, in words."""
        return (
            f'{self.config.model.name}, T={self.num_steps}; {self.config.data.name}: '
            f'{len(self.examples):,} {self.split_name} examples{describe_split(self.config)}'
        )

    def evaluate(self) -> dict[str, float]:
        """Loss, accuracy and firing rate over the examples; see `snnjax.train.loop.evaluate`."""
        config = self.config
        size = config.eval_batch_size
        return evaluate(self.program, self.variables, self.examples, size, config.data)

    def measure(self, step: Callable[[Any, Mapping[str, jax.Array]], Any]) -> Iterator[Any]:
        """What ``step(variables, batch)`` gives for each batch, on the host.

        Args:
          step: is compiled; batches are those of `EvaluationBatches`, divided over the devices. Its
            variables are for `model`.
        """
        batches = EvaluationBatches(
            self.examples,
            self.config.eval_batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ).iterate(self.config.data.workers)
        mesh = make_mesh()
        options = compiler_options(mesh.devices.flat[0].platform)
        compiled = jax.jit(step, out_shardings=replicated(mesh), compiler_options=options)
        by_image = batch_sharded(mesh)
        results = (compiled(self.variables, put_batch(batch, by_image)) for batch in batches)
        yield from metrics.fetch_late(results)


def open_trained(
    weights: str,
    data: Mapping[str, Any] | None = None,
    *,
    num_steps: int | None = None,
    **choice: Any,
) -> Trained:
    """A trained model, on the data set that it was trained on, or another.

    Args:
      weights: a work directory or a folder of weights.
      data: fields of `DataOptions`, of those in `EVALUATION`, that are other than in training.
      num_steps: time steps; None for those of training.
      **choice: of the examples: ``split``, 'test' or 'train', whose images are then as in testing,
        too; ``batch_size``, over all devices, 100 for each if None; ``images``, how many, at even
        distances over the split, or 0 for all.

    Raises:
      ConfigError: where the model cannot be run on the data set.
      DatasetNotPreparedError: where the data has to be made first.
      WeightsError: where there are no weights, or others than the model's.
    """
    name, options = describe_weights(weights)
    data = data_as_trained(weights, data or {})

    def load(program: Program) -> Any:
        like = program.abstract_state().variables
        variables, _ = fit_weights(program.model, like, load_weights(weights))
        return jax.device_put(variables, program.state_sharding.variables)

    of_data = ('num_classes', 'in_channels')
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
        if key not in of_data
    }
    if num_steps is not None:
        options['num_steps'] = num_steps
    loss = (_trained_as(weights) or {}).get('loss', 'cross_entropy')
    return _open(name, options, data, load, loss=loss, **choice)


def _trained_as(weights: str) -> dict[str, Any] | None:
    """The configuration of the run that weights are of, where it is with them."""
    return read_config(Path(weights).expanduser())


def data_as_trained(weights: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `DataOptions`: those that weights were trained with, but for the changes.

    Weights from elsewhere may name any folder: that of their data is taken only if it is known, see
    `snnjax.train.data_folders`.

    Raises:
      ConfigError: where nothing says which data set, or that it may be opened.
    """
    config = _trained_as(weights)
    if config is None or changes.get('name', config['data']['name']) != config['data']['name']:
        if 'name' not in changes:
            raise ConfigError(f'{weights} does not say which data set: give --dataset')
        return dict(changes)
    defaults = {field.name: field.default for field in dataclasses.fields(DataOptions)}
    data = {key: config['data'].get(key, defaults[key]) for key in sorted(EVALUATION)}
    for key, value in data.items():
        if type(value) is not type(defaults[key]):
            kind = type(defaults[key]).__name__
            raise ConfigError(f'{weights}/config.json: data.{key}={value!r} is not of type {kind}')
    if (
        'dir' not in changes
        and data['name'] not in READY
        and not data_folders.is_known(data['dir'])
    ):
        raise ConfigError(
            f'{weights} names {data["dir"]!r} as the folder of its data, {data["name"]!r}. It is '
            f'not the default, and you have not trained from it on this machine: give --data_dir '
            f'to say which folder to open'
        )
    # Of the machine, not of what was trained.
    data['workers'] = min(data['workers'], max_workers())
    return data | dict(changes)


def open_initial(
    name: str,
    data: Mapping[str, Any] | None = None,
    *,
    num_steps: int | None = None,
    seed: int = 0,
    **choice: Any,
) -> Trained:
    """A model with the parameters that its training begins with; see `open_trained`.

    Args:
      name: of the model.
      data: fields of `DataOptions`.
      num_steps: time steps; None for the paper's.
      seed: of the parameters.
      **choice: of the examples, likewise.
    """
    options = {'num_steps': DEFAULT_NUM_STEPS if num_steps is None else num_steps}
    return _open(name, options, data or {}, lambda p: p.init().variables, seed, **choice)


def _open(
    name: str,
    options: Mapping[str, Any],
    data: Mapping[str, Any],
    make_variables: Callable[[Program], Any],
    seed: int = 0,
    *,
    loss: str = 'cross_entropy',
    split: str = 'test',
    batch_size: int | None = None,
    images: int = 0,
) -> Trained:
    mesh = make_mesh()
    config = default_config()
    config.seed = seed
    config.loss = loss
    config.data.update(dict(data))
    config.eval_batch_size = batch_size or 100 * mesh.size
    config.batch_size = mesh.size
    with config.unlocked():
        config.model = {**dict.fromkeys(config.model), **options, 'name': name}
    check(config, mesh.size)
    program = build_program(config, mesh, steps_per_epoch=1)
    dataset = dataset_of(config)
    examples = dataset.load(split)
    if not 0 <= images <= len(examples):
        raise ConfigError(
            f'--images={images} must be 0, for all, to {len(examples)}, the {split} examples'
        )
    if images:
        examples = EvenlySpaced(examples, images)
    return Trained(config, dataset, program, make_variables(program), split, examples)
