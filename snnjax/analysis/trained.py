"""A trained model with the examples that it is looked at on."""

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
    """A model that an analysis cannot be made of; the message says why."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model, its variables, and examples of a data set.

    Attributes:
      name: of the model.
      num_steps: time steps T.
      data: options of the data set.
      inference: what runs on the devices.
      variables: of the model, as they lie on the devices.
      split_name: 'test' or 'train'; images of both are as in testing.
      examples: of that split, all or some.
      batch_size: images in a batch, over all devices: no more than there are, but for some of
        padding.
      assumes_steps: true if neither the weights nor a caller said how many time steps.
      step: step of the checkpoint that was read; None for a folder of weights.
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
        """The data set of the examples."""
        return self.inference.dataset

    @property
    def model(self) -> Network:
        """The network, each of its layers for itself."""
        return self.inference.model.unrolled()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of an example, or (T, H, W, C)."""
        return self.examples.examples(np.arange(1))['image'].shape[1:]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes by label; digits for a data set that does not name them."""
        names = class_names(self.data)
        return names or list(map(str, range(self.dataset.num_classes)))

    def normalised(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The images of a batch as the model takes them."""
        return normalize(batch['image'], self.dataset)

    def describe(self) -> str:
        """Says which model on which examples, and of which checkpoint."""
        assumed = ' (the weights do not say)' if self.assumes_steps else ''
        steps = f'T={self.num_steps}{assumed}'
        model = f'{self.name}, {steps}; {self.describe_examples()}'
        return model if self.step is None else f'{model}\ncheckpoint of step {self.step:,}'

    def describe_examples(self) -> str:
        """Says which examples of which data set."""
        return (
            f'{self.data.name}: {count(len(self.examples), f"{self.split_name} example")}'
            f'{describe_split(self.data.split)}'
        )

    def evaluate(self) -> dict[str, float]:
        """Returns means over the examples; see `snnjax.train.evaluation.evaluate`."""
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
        """What ``step(variables, batch)`` gives for each batch, on the host.

        Args:
          step: is compiled; batches are those of `EvaluationBatches`, divided over the devices. Its
            variables are for `model`.
          what: name of the work, in front of the progress bar.
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
) -> LoadedModel:
    """A trained model, on the data set that it was trained on, or another.

    Args:
      weights: a work directory or a folder of weights.
      data: fields of `DataOptions`, of those in `EVALUATION`, that are other than in training.
      num_steps: time steps; None for those of training.
      checkpoint: 'newest', 'best' or a step, for a run; see `find_checkpoint`.
      **choice: of the examples: ``split``, 'test' or 'train', whose images are then as in testing,
        too; ``batch_size``, over all devices, 100 for each if None; ``images``, how many, at even
        distances over the split, or 0 for all.

    Raises:
      ConfigError: where the model cannot be run on the data set.
      DatasetNotPreparedError: where the data has to be made first.
      WeightsError: where there are no weights, or others than the model's.
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
    """The step of a checkpoint of a run; None for a folder of weights, which has none."""
    folder = find_weights(weights)
    if (folder / 'variables').exists() or (folder / SAFETENSORS_FILE).exists():
        return None
    return find_checkpoint(folder / 'checkpoints', checkpoint)


def _trained_as(weights: str) -> dict[str, Any] | None:
    """The configuration of the run that weights are of, where it is with them."""
    return read_config(find_weights(weights)) or _trained_as_card_says(weights)


def _trained_as_card_says(weights: str) -> dict[str, Any] | None:
    """Returns what a run's configuration would say of weights that have been exported, if known.

    These are the options of the data, ``data``, and the ``loss``.
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
    """Fields of `DataOptions`: those that weights were trained with, but for the changes.

    Weights from elsewhere may name any folder: that of their data is taken only if it is known, see
    `snnjax.known`. If the changes have the same one, it is known from then on.

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
        and not known.is_known_folder(data['dir'], DataOptions.dir)
    ):
        raise ConfigError(
            f'{weights} names {data["dir"]!r} as the folder of its data, {data["name"]!r}. It is '
            f'not the default, and you have not trained from it on this machine: give --data_dir '
            f'to say which folder to open'
        )
    if 'dir' in changes:
        known.note_if_same(changes['dir'], data['dir'])
    # Of the machine, not of what was trained.
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
) -> LoadedModel:
    """A model with the parameters that its training begins with; see `open_trained`.

    Args:
      name: of the model.
      data: fields of `DataOptions`.
      num_steps: time steps; None for the paper's.
      seed: of the parameters.
      options: further options of the model.
      **choice: of the examples, likewise.
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
) -> LoadedModel:
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
            f'--images={images} must be 0, for all, to {len(examples)}, the {split} examples'
        )
    if images:
        examples = EvenlySpaced(examples, images)
    most = -(-len(examples) // mesh.size) * mesh.size
    return LoadedModel(
        name=name,
        num_steps=options['num_steps'],
        data=DataOptions(**data),
        inference=inference,
        variables=make_variables(inference),
        split_name=split,
        examples=examples,
        batch_size=min(batch_size or 100 * mesh.size, most),
    )
