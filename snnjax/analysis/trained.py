"""Loaded models with the examples to measure them on."""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from snnjax import known
from snnjax.data import DataOptions, Dataset, Split
from snnjax.data.datasets import READY, SMALL_IMAGES, class_names
from snnjax.data.options import EVALUATION, max_workers
from snnjax.data.pipeline import EvaluationBatches
from snnjax.data.splits import EvenlySpaced
from snnjax.data.transforms.preprocessing import read_preprocessing
from snnjax.errors import ConfigError, UserError
from snnjax.models import Network, compiler_options
from snnjax.models.network import DEFAULT_NUM_STEPS
from snnjax.spelling import count, did_you_mean
from snnjax.train import metrics
from snnjax.train.config import describe_split
from snnjax.train.evaluation import evaluate
from snnjax.train.experiment import open_network
from snnjax.train.losses import LOSSES
from snnjax.train.program import Inference, build_inference
from snnjax.train.progress import watched
from snnjax.train.run_directory import read_config
from snnjax.train.sharding import batch_sharded, make_mesh, put_batch, replicated
from snnjax.train.state import SEEDS
from snnjax.train.step import normalize
from snnjax.weights.fit import fit_weights
from snnjax.weights.folder import SAFETENSORS_FILE, describe_weights, load_weights
from snnjax.weights.source import find_weights
from snnjax.weights.steps import find_checkpoint


class UnsuitableModelError(UserError, ValueError):
    """An analysis does not apply to a model; the message says why."""


@dataclasses.dataclass(frozen=True)
class ModelOnData:
    """A model, its variables, and examples of a data set.

    Attributes:
      name: the name of the model.
      num_steps: the number of time steps T.
      data: the options of the data set.
      inference: the inference program for the devices.
      variables: the variables of the model on the devices.
      split_name: the name of the split, 'test' or 'train'; both are preprocessed as in testing.
      examples: the examples of the split, all or some.
      batch_size: the number of images per batch over all devices. It is at most the number of
        examples, rounded up to a multiple of the device count.
      assumes_steps: True if ``num_steps`` is the default because no one gave it.
      step: the step of the checkpoint; None for a folder of weights.
    """

    name: str
    num_steps: int
    data: DataOptions
    inference: Inference
    variables: Mapping[str, Any]
    split_name: str
    examples: Split
    batch_size: int
    assumes_steps: bool = False
    step: int | None = None

    @property
    def dataset(self) -> Dataset:
        """Returns the data set of the examples."""
        return self.inference.dataset

    @property
    def model(self) -> Network:
        """Returns the network with scanning over layers disabled."""
        return self.inference.model.unrolled()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Returns the shape of an example, (H, W, C) or (T, H, W, C)."""
        return self.examples.examples(np.arange(1))['image'].shape[1:]

    @property
    def class_names(self) -> list[str]:
        """Returns the class names by label; the labels themselves if the data set has no names."""
        names = class_names(self.data)
        return names or list(map(str, range(self.dataset.num_classes)))

    def normalized(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Returns the normalized images of a batch, the input of the model."""
        return normalize(batch['image'], self.dataset)

    def describe(self) -> str:
        """Returns the model, the examples and the checkpoint as text."""
        assumed = ' (the weights do not say)' if self.assumes_steps else ''
        steps = f'T={self.num_steps}{assumed}'
        model = f'{self.name}, {steps}; {self.describe_examples()}'
        return model if self.step is None else f'{model}\ncheckpoint of step {self.step:,}'

    def describe_examples(self) -> str:
        """Returns the data set, the split and the number of examples as text."""
        return (
            f'{self.data.name}: {count(len(self.examples), f"{self.split_name} example")}'
            f'{describe_split(self.data.split)}'
        )

    def evaluate(self) -> dict[str, float]:
        """Returns the metrics of `snnjax.train.evaluation.evaluate`, averaged over the examples."""
        return evaluate(
            self.inference,
            self.variables,
            self.examples,
            self.batch_size,
            self.data,
            shown='evaluating',
        )

    def measure(
        self, step: Callable[[Any, Mapping[str, jax.Array]], Any], what: str = 'measuring'
    ) -> Iterator[Any]:
        """Yields the results of ``step(variables, batch)`` for each batch, on the host.

        Args:
          step: the function to compile and run. It takes the variables of `model` and a batch of
            `EvaluationBatches`, sharded over the devices.
          what: the label of the progress bar.
        """
        batches = EvaluationBatches(
            self.examples,
            self.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        made = watched(batches.iterate(self.data.workers), what, len(batches))
        mesh = make_mesh()
        options = compiler_options(mesh.devices.flat[0].platform)
        compiled = jax.jit(step, out_shardings=replicated(mesh), compiler_options=options)
        by_image = batch_sharded(mesh)
        results = (compiled(self.variables, put_batch(batch, by_image)) for batch in made)
        yield from metrics.fetch_late(results)


def open_trained(
    weights: str,
    data: Mapping[str, Any] | None = None,
    *,
    num_steps: int | None = None,
    checkpoint: str = 'newest',
    **choice: Any,
) -> ModelOnData:
    """Opens a trained model with examples of its own or another data set.

    Args:
      weights: the work directory of a run, or a folder of weights.
      data: the fields of `DataOptions` that differ from training, out of those in `EVALUATION`.
      num_steps: the number of time steps; None for that of training.
      checkpoint: the checkpoint of a run: 'newest', 'best' or a step; see `find_checkpoint`.
      **choice: the choice of the examples. ``split`` is 'test' or 'train'; both are preprocessed as
        in testing. ``batch_size`` is that over all devices; None for 100 per device. ``images`` is
        the number of images, evenly spaced over the split; 0 for all.

    Raises:
      ConfigError: if the model cannot run on the data set, or an argument is wrong.
      DatasetNotPreparedError: if the data set is not prepared.
      WeightsError: if there are no weights, or they do not fit the model.
    """
    name, options = describe_weights(weights)
    step = _step_of(weights, checkpoint)
    data = data_as_trained(weights, data or {})

    def load(inference: Inference) -> Any:
        like = inference.abstract_variables()
        loaded = load_weights(weights, checkpoint if step is None else step)
        variables, _ = fit_weights(inference.model, like, loaded)
        return jax.device_put(variables, inference.variables_sharding)

    of_data = ('num_classes', 'in_channels')
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
        if key not in of_data
    }
    if num_steps is not None:
        options['num_steps'] = num_steps
    assumes_steps = options.get('num_steps') is None
    if assumes_steps:
        options['num_steps'] = DEFAULT_NUM_STEPS
    loss = (_trained_as(weights) or {}).get('loss', 'cross_entropy')
    if loss not in LOSSES:
        raise ConfigError(
            f'{weights} was trained with an unknown loss {loss!r}; {did_you_mean(loss, LOSSES)}'
        )
    trained = _open(name, options, data, load, loss=loss, **choice)
    return dataclasses.replace(trained, step=step, assumes_steps=assumes_steps)


def _step_of(weights: str, checkpoint: str) -> int | None:
    """Returns the step of a checkpoint of a run; None for a folder of weights."""
    folder = find_weights(weights)
    if (folder / 'variables').exists() or (folder / SAFETENSORS_FILE).exists():
        return None
    return find_checkpoint(folder / 'checkpoints', checkpoint)


def _trained_as(weights: str) -> dict[str, Any] | None:
    """Returns the configuration of the run that made the weights; None if it is not known."""
    return read_config(find_weights(weights)) or _trained_as_card_says(weights)


def _trained_as_card_says(weights: str) -> dict[str, Any] | None:
    """Returns the configuration entries ``data`` and ``loss`` from the ``model.json`` of weights.

    Returns None if ``model.json`` does not give the data set.
    """
    try:
        card = json.loads((find_weights(weights) / 'model.json').read_text())
        made = read_preprocessing(card)
        match card:
            case {'data': {'name': str(name), 'split': str(split)}}:
                data: dict[str, Any] = {'name': name, 'split': split}
            case _:
                return None
        if made and made.is_events:
            data |= made.to_json()['preprocessing']
        elif made and name not in SMALL_IMAGES:
            data |= {'eval_size': made.shape[0], 'eval_resize': made.resize}
        options = dataclasses.asdict(DataOptions(**data))
    except (OSError, ValueError):
        return None
    loss = card.get('loss')
    return {'data': options, 'loss': loss if loss in list(LOSSES) else 'cross_entropy'}


def data_as_trained(weights: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of `DataOptions` that weights were trained with, updated by the changes.

    Weights from elsewhere may name any data folder. The folder is used only if it is a known one;
    see `snnjax.known`. If the changes name the same folder, it is known from then on.

    Args:
      weights: the work directory of a run, or a folder of weights.
      changes: the fields of `DataOptions` that differ from training.

    Raises:
      ConfigError: if the data set is not known, or its folder is not a known one.
    """
    config = _trained_as(weights)
    if config is None or changes.get('name', config['data']['name']) != config['data']['name']:
        if 'name' not in changes:
            raise ConfigError(f'{weights} names no data set: give --dataset')
        return dict(changes)
    defaults = {field.name: field.default for field in dataclasses.fields(DataOptions)}
    data = {key: config['data'].get(key, defaults[key]) for key in sorted(EVALUATION)}
    for key, value in data.items():
        if type(value) is not type(defaults[key]):
            kind = type(defaults[key]).__name__
            raise ConfigError(
                f'{weights}/config.json: data.{key}={value!r} must be of type {kind}: correct the '
                f'file, or give other weights'
            )
    if (
        'dir' not in changes
        and data['name'] not in READY
        and not known.is_known_folder(data['dir'], DataOptions.dir)
    ):
        raise ConfigError(
            f'{weights} names {data["dir"]!r} as the folder of its data set {data["name"]!r}. It '
            f'is not the default folder, and no run on this machine has trained from it: give '
            f'--data_dir to say which folder to open'
        )
    if 'dir' in changes:
        known.note_if_same(changes['dir'], data['dir'])
    # The number of workers depends on this machine, not on the training run.
    data['workers'] = min(data['workers'], max_workers())
    return data | dict(changes)


def open_initial(
    name: str,
    data: Mapping[str, Any] | None = None,
    *,
    num_steps: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **choice: Any,
) -> ModelOnData:
    """Opens a model with its initial parameters, before any training.

    Args:
      name: the name of the model.
      data: the fields of `DataOptions`.
      num_steps: the number of time steps; None for that of the paper.
      seed: the seed of the parameters, at least 0 and below 2**64.
      options: the further options of the model.
      **choice: the choice of the examples, as in `open_trained`.

    Raises:
      ConfigError: if the model cannot run on the data set, or an argument is wrong.
      DatasetNotPreparedError: if the data set is not prepared.
    """
    options = {'num_steps': DEFAULT_NUM_STEPS, **(options or {})}
    if num_steps is not None:
        options['num_steps'] = num_steps
    if seed not in SEEDS:
        raise ConfigError(f'--seed={seed} must be at least 0 and below 2**64')
    make = operator.methodcaller('init_variables', seed)
    return _open(name, options, data or {}, make, **choice)


def _open(
    name: str,
    options: Mapping[str, Any],
    data: Mapping[str, Any],
    make_variables: Callable[[Inference], Any],
    *,
    loss: str = 'cross_entropy',
    split: str = 'test',
    batch_size: int | None = None,
    images: int = 0,
) -> ModelOnData:
    mesh = make_mesh()
    if batch_size is not None and batch_size % mesh.size:
        raise ConfigError(
            f'--batch_size={batch_size} must be a multiple of the {count(mesh.size, "device")}'
        )
    dataset, model = open_network(data, name, options)
    inference = build_inference(model, dataset, mesh, LOSSES[loss])
    examples = dataset.load(split)
    if not 0 <= images <= len(examples):
        raise ConfigError(
            f'--images={images} must be between 0 (all images) and {len(examples)}, the number of '
            f'{split} examples'
        )
    if images:
        examples = EvenlySpaced(examples, images)
    most = -(-len(examples) // mesh.size) * mesh.size
    return ModelOnData(
        name=name,
        num_steps=options['num_steps'],
        data=DataOptions(**data),
        inference=inference,
        variables=make_variables(inference),
        split_name=split,
        examples=examples,
        batch_size=min(batch_size or 100 * mesh.size, most),
    )
