"""Weights of a trained model, apart from the run that they come from.

Going on with a run is the business of `snnjax.train.checkpoints`. This is the other path: to
evaluate a model, to start another training from it (more time steps, another data set), or to take
weights over from elsewhere.

A folder of weights has ``model.json``, the model's name and options, and ``variables/``, its
parameters and statistics, or ``variables.safetensors``, which has the same and can be sent to
others. The work directory of a run has the former, too, and ``checkpoints/`` instead of the latter,
of which the newest counts if no other is asked for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from snnjax.data.archives import natural_order
from snnjax.errors import UserError
from snnjax.models import Network, create_model
from snnjax.models.observation import unrolled
from snnjax.models.safetensors_weights import read_safetensors, write_safetensors
from snnjax.models.stacking import stack_layers, unstack_layers
from snnjax.train.files import write_whole

Variables = dict[str, Any]

SAFETENSORS_FILE = 'variables.safetensors'


class WeightsError(UserError, ValueError):
    """Weights that are not there, or that do not fit; the message says which."""


def save_weights(
    directory: Path, variables: Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> None:
    """Writes a folder of weights.

    Args:
      directory: must not have weights in it.
      variables: ``{'params': ..., 'batch_stats': ...}``, in either form of repeated layers.
      name: of the model.
      options: of `create_model`, what JSON can hold.

    Raises:
      WeightsError: where there are weights already.
    """
    if (directory / 'variables').exists():
        raise WeightsError(f'{directory} has weights already; remove them or name another folder')
    directory.mkdir(parents=True, exist_ok=True)
    kept = unstack_layers({key: variables[key] for key in ('params', 'batch_stats')})
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((directory / 'variables').absolute(), kept)
    # Last, so that a folder without it is known to be incomplete.
    write_description(directory, name, options)


def save_safetensors(
    directory: Path,
    variables: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Writes a folder of weights that can be sent to others.

    Args:
      directory: that is made, or empty.
      variables: as for `save_weights`.
      name: likewise.
      options: likewise.
      about: goes into ``model.json`` and into the header of the arrays, too.

    Raises:
      ImportError: without the package ``safetensors``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    card = json.dumps({'name': name, 'options': dict(options), **about})
    write_safetensors(directory / SAFETENSORS_FILE, variables, {'model': card})
    write_description(directory, name, options, about)


def write_description(
    directory: Path, name: str, options: Mapping[str, Any], about: Mapping[str, Any] | None = None
) -> None:
    """Writes ``model.json``, the name and the options of a model, what JSON can hold, and more."""
    description = {'name': name, 'options': dict(options), **(about or {})}
    write_whole(directory / 'model.json', json.dumps(description, indent=2) + '\n')


def describe_weights(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Name and options of the model that a folder of weights, or a work directory, is of.

    Raises:
      WeightsError: where it is neither, or its ``model.json`` does not say.
    """
    directory = Path(source).expanduser()
    kept = (directory / 'variables', directory / SAFETENSORS_FILE)
    has_weights = any(path.exists() for path in kept) or checkpoint_steps(directory / 'checkpoints')
    path = directory / 'model.json'
    if not (path.exists() and has_weights):
        raise WeightsError(
            f'{directory} has no weights: model.json and variables, as a folder of weights has, or '
            f'model.json and a checkpoint, as a run has'
        )
    try:
        match json.loads(path.read_text()):
            case {'name': str(name), 'options': dict(options)}:
                return name, options
    except ValueError as error:
        raise WeightsError(f'{path} is not JSON: {error}') from error
    raise WeightsError(f'{path} does not describe a model: it needs a name and options')


def open_weights(
    source: str | Path, num_steps: int | None = None, checkpoint: str | int = 'newest'
) -> tuple[Network, Variables]:
    """The model that weights are of, each of its layers for itself, and its variables.

    Args:
      source: a folder of weights or a work directory.
      num_steps: time steps; None for those of training.
      checkpoint: of a run, see `load_weights`.

    Raises:
      WeightsError: where there are none, or others than the model's.
    """
    name, options = describe_weights(source)
    if num_steps is not None:
        options['num_steps'] = num_steps
    try:
        model = unrolled(create_model(name, **options))
        variables = load_weights(source, checkpoint)
        size = model.image_size(variables['params'])
        image = jax.ShapeDtypeStruct((1, *size, model.in_channels), 'float32')
        like = jax.eval_shape(model.init, jax.random.key(0), image)
    except WeightsError:
        raise
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{source}: {error}') from error
    like = {key: like[key] for key in ('params', 'batch_stats')}
    return model, fit_weights(model, like, variables)[0]


def load_weights(source: str | Path, checkpoint: str | int = 'newest') -> Variables:
    """Loads the variables of a folder of weights, or of a checkpoint of a run: the average if any.

    Args:
      source: a folder of weights or a work directory.
      checkpoint: of a run, 'newest', 'best' (by `best_step`) or a step, as a number or its digits.

    Returns:
      ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays; repeated layers are not stacked.

    Raises:
      WeightsError: if there are none, no such checkpoint, or they are damaged.
    """
    describe_weights(source)
    directory = Path(source).expanduser().absolute()
    path = directory / 'variables'
    if path.exists() or (directory / SAFETENSORS_FILE).exists():
        if checkpoint != 'newest':
            raise WeightsError(
                f'{directory} is a folder of weights and has no checkpoint {str(checkpoint)!r}: '
                'give the work directory of a run, or no checkpoint'
            )
    else:
        checkpoints = directory / 'checkpoints'
        path = checkpoints / str(find_checkpoint(checkpoints, checkpoint)) / 'state'
    if not path.exists():
        return _load_safetensors(directory / SAFETENSORS_FILE)
    try:
        restored = _restore_arrays(path)
    # Orbax and TensorStore have errors of many kinds for files that are damaged.
    except Exception as error:
        reason = str(error).partition('\n')[0][:200]
        raise WeightsError(
            f'{path} cannot be read: {reason}\nPut back a copy; if it is of a run, the command of '
            f'the run goes on from the checkpoint before'
        ) from error
    restored = restored.get('average') or restored
    return unstack_layers({key: restored[key] for key in ('params', 'batch_stats')})


def _restore_arrays(path: Path) -> dict[str, Any]:
    # As NumPy arrays, on whatever devices they were when they were saved.
    arguments = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), read_metadata(path)
    )
    return ocp.PyTreeCheckpointHandler().restore(
        path, args=ocp.args.PyTreeRestore(restore_args=arguments)
    )


def _load_safetensors(path: Path) -> Variables:
    try:
        return read_safetensors(path)
    except ImportError as error:
        raise WeightsError(f"{path} needs safetensors: pip install 'snnjax[export]'") from error
    except ValueError as error:
        raise WeightsError(str(error)) from error


def fit_weights(
    model: Network, like: Mapping[str, Any], variables: Variables, *, new_classifier: bool = False
) -> tuple[Variables, list[str]]:
    """Brings weights into the form of a model.

    Args:
      model: the network.
      like: its variables, for their shapes, dtypes and, where kept, the classifier.
      variables: of `load_weights`.
      new_classifier: keep the classifier of ``like`` where the weights have another number of
        classes.

    Returns:
      The variables, and the names of the parameters that were kept from ``like``.

    Raises:
      WeightsError: where something is missing, left over or of another shape; the message has all.
    """
    expected = by_name(unstack_layers(like))
    given = by_name(variables)
    problems = [f'missing: {key}' for key in sorted(expected.keys() - given.keys())]
    problems += [f'unexpected: {key}' for key in sorted(given.keys() - expected.keys())]
    kept = []
    for key in sorted(expected.keys() & given.keys()):
        if given[key].shape == expected[key].shape:
            continue
        if new_classifier and key.startswith('params/classifier/'):
            kept.append(key)
        else:
            problems.append(f'{key}: shape {given[key].shape}, expected {expected[key].shape}')
    if problems:
        raise WeightsError('the weights do not fit the model:\n  ' + '\n  '.join(problems))

    def choose(path: Any, leaf: Any) -> Any:
        key = _key(path)
        return leaf if key in kept else given[key].astype(leaf.dtype)

    fitted = jax.tree.map_with_path(choose, unstack_layers(like))
    return (stack_layers(fitted) if model.scans_layers else fitted), kept


def checkpoint_steps(directory: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder, in order.

    Those that are being written have another name, and so has what was set aside.
    """
    try:
        folders = [path for path in directory.iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(path.name) for path in folders if _is_checkpoint(path))


def _is_checkpoint(folder: Path) -> bool:
    # Not '007', and not what Unicode has for digits; an empty folder is no checkpoint.
    is_step = re.fullmatch('0|[1-9][0-9]*', folder.name) is not None
    return is_step and any(folder.iterdir())


def find_checkpoint(directory: Path, which: str | int = 'newest') -> int:
    """Returns the step of a checkpoint of a run.

    Args:
      directory: the folder of checkpoints.
      which: 'newest', 'best' (by `best_step`) or a step, as a number or its digits.

    Raises:
      WeightsError: if there is no such checkpoint; the message names those that there are.
    """
    steps = checkpoint_steps(directory)
    best = best_step({step: read_evaluation(directory / str(step)) for step in steps})
    named = {'newest': steps[-1]} if steps else {}
    if best is not None:
        named['best'] = best
    text = str(which)
    if text in named:
        return named[text]
    if text.isascii() and text.isdecimal() and int(text) in steps:
        return int(text)
    raise WeightsError(
        f'{directory} has no checkpoint {text!r}; there '
        + (f'are {", ".join([*named, *map(str, steps)])}' if steps else 'is none')
    )


def best_step(evaluations: Mapping[int, Mapping[str, float] | None]) -> int | None:
    """Returns the step with the highest `score`, the latest of equals; None if none has one.

    Args:
      evaluations: ``eval/...`` by step; None for a step without an evaluation.
    """
    scores = {step: score(values) for step, values in evaluations.items() if values}
    finite = [step for step, value in scores.items() if math.isfinite(value)]
    return max(finite, key=lambda step: (scores[step], step), default=None)


def score(evaluation: Mapping[str, float]) -> float:
    """Returns what the best is chosen by: the accuracy, -inf if the loss is not finite."""
    finite = math.isfinite(evaluation.get('eval/loss', 0.0))
    return evaluation['eval/accuracy'] if finite else -math.inf


def read_evaluation(checkpoint: Path) -> dict[str, float] | None:
    """Returns the evaluation of a checkpoint; None if it has none, or one that is damaged.

    Args:
      checkpoint: the folder of one step.
    """
    try:
        evaluation = json.loads((checkpoint / 'metrics' / 'metrics').read_text())
    except (OSError, ValueError):
        return None
    match evaluation:
        case {'eval/accuracy': float() | int()}:
            return evaluation
    return None


def read_metadata(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: shape and dtype for each array, none of which is read."""
    return dict(ocp.PyTreeCheckpointHandler().metadata(path.absolute()).tree)


def by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of variables by their place, as ``params/stem/conv/kernel``."""
    return {_key(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def block_of(name: str) -> str:
    """The block, or else the layer, of an array: ``stage1/block2/conv1/conv/kernel`` is of
    ``stage1/block2``, ``stem/conv/kernel`` of ``stem``.
    """
    first, second, *_ = name.split('/')
    return f'{first}/{second}' if first.startswith('stage') else first


_LAYER = re.compile(r'(?P<dense>dense_)?(?P<role>[a-z]+)(?P<number>\d*)')
_PARTS = {'stem': -1, 'dense': 1, 'classifier': 2}
_ROLES = ('conv', 'dense', 'norm', 'attention', 'spike')


def forward_order(layer: str) -> tuple[Any, ...]:
    """Sorts blocks or layers as they run: the stem, the tenth block behind the second, what is
    fully connected, the classifier; of what has one number, neurons last.
    """
    match = _LAYER.match(layer)
    if match is None:
        return 0, 0, 0, natural_order(layer)
    role = match['role']
    part = _PARTS.get('dense' if match['dense'] else role, 0)
    place = _ROLES.index(role) if role in _ROLES else 0
    return part, int(match['number'] or 0), place, natural_order(layer)


def _key(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/')
