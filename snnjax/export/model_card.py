"""What somebody else has to know of a trained model: its images, and how it was trained."""

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
    """Images of 8 bits as a data set stores them, and what they are normalised by.

    Attributes:
      shape: (H, W, C), or (T, H, W, C) for frames.
      mean: of the pixels, by channel.
      std: likewise, the standard deviation.

    Raises:
      ConfigError: when built with another rank, or with statistics of other channels.
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
                f'channels, and std be above 0'
            )

    def random(self, count: int, seed: int = 0) -> np.ndarray:
        """Pixels (count, *shape) uint8, with about the mean and deviation of the real ones."""
        drawn = np.random.default_rng(seed).normal(self.mean, self.std, (count, *self.shape))
        return np.clip(np.round(drawn), 0, 255).astype(np.uint8)


def image_format(data: Mapping[str, Any], num_steps: int | None) -> ImageFormat:
    """The format of a data set's test images.

    Args:
      data: fields of `DataOptions`.
      num_steps: frames of a recording of events.

    Raises:
      ConfigError: for a data set that is not known.
      DatasetNotPreparedError: where it has to be made first.
    """
    try:
        dataset = open_dataset(DataOptions(**data), num_steps)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    images = dataset.load('test').examples(np.arange(1))['image']
    return ImageFormat(images.shape[1:], dataset.mean, dataset.std)


def read_image_format(weights: str) -> ImageFormat | None:
    """What `make_card` has written of the images, if it has."""
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
    """What there is to say beside a model's name and options, as JSON holds it.

    Args:
      weights: a work directory or folder of weights.
      params: parameters of the model.
      images: what it sees; None where that is not known.
      inputs: names of classes and preprocessing, see `snnjax.analysis.inference.Inputs.to_json`.
      checkpoint: the checkpoint of a run, see `snnjax.weights.steps.find_checkpoint`.

    Returns:
      ``parameters``, ``images``, ``packages``, and ``licence``, which is for the user to fill in;
      of a run ``data``, ``loss``, ``step``, and ``evaluation``, the last and the best of its test;
      ``classes`` and ``preprocessing`` if they are known.
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
                # The best checkpoint that is kept, as its training knew it.
                'best': None if best is None else evaluations.get(best),
            }
    else:
        # Of weights that have been exported before.
        described = json.loads((workdir / 'model.json').read_text())
        kept = ('data', 'loss', 'step', 'evaluation')
        card |= {key: described[key] for key in kept if key in described}
    packages = ('snnjax', 'jax', 'flax', 'numpy')
    versions = {name: importlib.metadata.version(name) for name in packages}
    return card | {'packages': versions, 'licence': None}
