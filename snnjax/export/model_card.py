"""Model cards: the images, the training and the evaluation of a trained model."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from snnjax.data import DataOptions, open_dataset
from snnjax.train.config import ConfigError
from snnjax.train.metric_writer import read_metrics
from snnjax.train.run_directory import read_config
from snnjax.train.state import count_parameters
from snnjax.weights.source import find_weights
from snnjax.weights.steps import best_step, checkpoint_steps, find_checkpoint, read_evaluation


@dataclasses.dataclass(frozen=True)
class ImageFormat:
    """The shape of a data set's 8-bit images, and their normalization.

    Attributes:
      shape: the shape (H, W, C), or (T, H, W, C) for frames.
      mean: the mean of the pixels for each channel.
      std: the standard deviation of the pixels for each channel.

    Raises:
      ConfigError: if the rank is another, or the statistics do not have one value for each channel.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) not in (3, 4) or min(self.shape) < 1:
            raise ConfigError(f'images of shape {self.shape} must be H,W,C, or T,H,W,C for frames')
        channels = self.shape[-1]
        if not len(self.mean) == len(self.std) == channels or min(self.std) <= 0:
            raise ConfigError(
                f'mean {self.mean} and std {self.std} must have a number for each of {channels} '
                f'channels, and std must be above 0'
            )

    def random(self, count: int, seed: int = 0) -> np.ndarray:
        """Draws pixels (count, *shape), uint8, with about the data set's mean and deviation."""
        drawn = np.random.default_rng(seed).normal(self.mean, self.std, (count, *self.shape))
        return np.clip(np.round(drawn), 0, 255).astype(np.uint8)


def image_format(data: Mapping[str, Any], num_steps: int | None) -> ImageFormat:
    """Returns the format of a data set's test images.

    Args:
      data: the fields of `DataOptions`.
      num_steps: the number of frames of an event recording, or None for images.

    Raises:
      ConfigError: if the data set is unknown.
      DatasetNotPreparedError: if the data set has to be prepared first.
    """
    try:
        dataset = open_dataset(DataOptions(**data), num_steps)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    images = dataset.load('test').examples(np.arange(1))['image']
    return ImageFormat(images.shape[1:], dataset.mean, dataset.std)


def read_image_format(weights: str) -> ImageFormat | None:
    """Returns the image format that `make_card` has written; None if there is none."""
    path = find_weights(weights) / 'model.json'
    match json.loads(path.read_text()).get('images'):
        case {'shape': [*shape], 'mean': [*mean], 'std': [*std]} if all(
            isinstance(number, int | float) for number in (*mean, *std)
        ) and all(type(size) is int and size > 0 for size in shape):
            return ImageFormat(tuple(shape), tuple(mean), tuple(std))
    return None


def make_card(
    weights: str,
    params: Any,
    images: ImageFormat | None,
    inputs: Mapping[str, Any] | None = None,
    checkpoint: str = 'newest',
) -> dict[str, Any]:
    """Returns everything in a model's card but its name and options, as JSON can hold it.

    Args:
      weights: a work directory or a folder of weights.
      params: the parameters of the model.
      images: the format of its images, or None if it is unknown.
      inputs: the names of classes and the preprocessing, as
        `snnjax.analysis.inference.Inputs.to_json` returns them.
      checkpoint: the checkpoint of a run, as `snnjax.weights.steps.find_checkpoint` takes it.

    Returns:
      ``parameters``, ``images``, ``packages``, and ``licence``, which the user fills in. A run adds
      ``data``, ``loss``, ``step``, and ``evaluation`` with its last and best test results. The keys
      ``classes`` and ``preprocessing`` are there if they are known.
    """
    card: dict[str, Any] = {
        'parameters': count_parameters(params),
        'images': dataclasses.asdict(images) if images else None,
    }
    card |= {key: value for key, value in (inputs or {}).items() if key not in card}
    workdir = find_weights(weights)
    if config := read_config(workdir):
        evaluations = {r['step']: r for r in read_metrics(workdir) if 'eval/accuracy' in r}
        card |= {
            'data': {key: config['data'][key] for key in ('name', 'split')},
            'loss': config.get('loss', 'cross_entropy'),
            'step': find_checkpoint(workdir / 'checkpoints', checkpoint),
        }
        if evaluations:
            folder = workdir / 'checkpoints'
            of_checkpoints = {s: read_evaluation(folder / str(s)) for s in checkpoint_steps(folder)}
            best = best_step(of_checkpoints)
            card['evaluation'] = {
                'last': evaluations[max(evaluations)],
                # The best checkpoint that still exists, by the results that its training recorded.
                'best': None if best is None else evaluations.get(best),
            }
    else:
        # The weights have been exported before.
        described = json.loads((workdir / 'model.json').read_text())
        kept = ('data', 'loss', 'step', 'evaluation')
        card |= {key: described[key] for key in kept if key in described}
    packages = ('snnjax', 'jax', 'flax', 'numpy')
    versions = {name: importlib.metadata.version(name) for name in packages}
    return card | {'packages': versions, 'licence': None}
