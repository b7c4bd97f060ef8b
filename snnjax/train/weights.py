"""Weights of a trained model, apart from the run that they come from.

Going on with a run is the business of `snnjax.train.checkpoints`. This is the other path: to
evaluate a model, to start another training from it (more time steps, another data set), or to take
weights over from elsewhere.

A folder of weights has ``model.json``, the model's name and options, and ``variables/``, its
parameters and statistics. The work directory of a run has the former, too, and ``checkpoints/``
instead of the latter; the newest counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from snnjax.models import ResNet
from snnjax.models.stacking import stack_layers, unstack_layers
from snnjax.train.files import write_whole

Variables = dict[str, Any]


class WeightsError(ValueError):
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


def write_description(directory: Path, name: str, options: Mapping[str, Any]) -> None:
    """Writes ``model.json``, the name and the options of a model, what JSON can hold."""
    description = {'name': name, 'options': dict(options)}
    write_whole(directory / 'model.json', json.dumps(description, indent=2) + '\n')


def describe_weights(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Name and options of the model that a folder of weights, or a work directory, is of.

    Raises:
      WeightsError: where it is neither.
    """
    directory = Path(source).expanduser()
    has_weights = (directory / 'variables').exists() or _checkpoint_steps(directory)
    if not ((directory / 'model.json').exists() and has_weights):
        raise WeightsError(
            f'{directory} has no weights: model.json and variables, as a folder of weights has, or '
            f'model.json and a checkpoint, as a run has'
        )
    description = json.loads((directory / 'model.json').read_text())
    return description['name'], description['options']


def load_weights(source: str | Path) -> Variables:
    """Variables of a folder of weights, or of the newest checkpoint of a run: the average if any.

    Returns:
      ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays; repeated layers are not stacked.

    Raises:
      WeightsError: where there are none.
    """
    describe_weights(source)
    directory = Path(source).expanduser().absolute()
    path = directory / 'variables'
    if not path.exists():
        path = directory / 'checkpoints' / str(_checkpoint_steps(directory)[-1]) / 'state'
    handler = ocp.PyTreeCheckpointHandler()
    # As NumPy arrays, on whatever devices they were when they were saved.
    arguments = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), dict(handler.metadata(path).tree)
    )
    restored = handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=arguments))
    restored = restored.get('average') or restored
    return unstack_layers({key: restored[key] for key in ('params', 'batch_stats')})


def fit_weights(
    model: ResNet, like: Mapping[str, Any], variables: Variables, *, new_classifier: bool = False
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


def _checkpoint_steps(workdir: Path) -> list[int]:
    """Steps of the complete checkpoints; those being written have another name."""
    return sorted(int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdigit())


def by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of variables by their place, as ``params/stem/conv/kernel``."""
    return {_key(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def block_of(name: str) -> str:
    """The block, or else the layer, of an array: ``stage1/block2/conv1/conv/kernel`` is of
    ``stage1/block2``, ``stem/conv/kernel`` of ``stem``.
    """
    first, second, *_ = name.split('/')
    return f'{first}/{second}' if first.startswith('stage') else first


def _key(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/')
