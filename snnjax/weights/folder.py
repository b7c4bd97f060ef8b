"""Weights of trained models in folders, without the state of their training.

Use this module to evaluate a model, to start a training from its weights (with more time steps or
another data set), or to import weights. `snnjax.train.checkpoints` resumes a run.

A folder of weights has ``model.json`` with the model's name and options, and either ``variables/``
with its parameters and batch statistics, or ``variables.safetensors`` with the same arrays in a
form for sharing. The work directory of a run has ``model.json`` and ``checkpoints/``. The newest
checkpoint is used unless another is requested.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from snnjax.errors import WeightsError
from snnjax.files import check_name, for_orbax, size_of, write_whole
from snnjax.models import Network, create_model
from snnjax.models.params import by_name, trained_part, unstack_layers
from snnjax.models.registry import NETWORKS, option_fields
from snnjax.modules import load_modules_of_weights
from snnjax.weights.fit import differences, fit_weights
from snnjax.weights.safetensors import read_safetensors, write_safetensors
from snnjax.weights.source import PRETRAINED, find_weights
from snnjax.weights.steps import checkpoint_steps, find_checkpoint, read_metadata

Variables = dict[str, Any]

SAFETENSORS_FILE = 'variables.safetensors'


def save_weights(
    directory: Path, variables: Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> None:
    """Writes a folder of weights.

    Args:
      directory: the folder, which must not have weights yet.
      variables: the variables ``{'params': ..., 'batch_stats': ...}``; repeated layers may be
        stacked.
      name: the name of the model.
      options: the options of `create_model`, JSON-compatible.

    Raises:
      WeightsError: if the folder has weights already.
    """
    if (directory / 'variables').exists():
        raise WeightsError(f'{directory} has weights already; remove them or name another folder')
    try:
        check_name(directory)
    except ValueError as error:
        raise WeightsError(f'{directory} {error}') from None
    directory.mkdir(parents=True, exist_ok=True)
    kept = unstack_layers(trained_part(variables))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(for_orbax(directory) / 'variables', kept)
    # Written last: a folder without this file is incomplete.
    write_description(directory, name, options)


def save_safetensors(
    directory: Path,
    variables: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Writes a folder of weights for sharing.

    Args:
      directory: the folder, which is created if it does not exist.
      variables: the variables, as for `save_weights`.
      name: the name of the model.
      options: the options of `create_model`, JSON-compatible.
      about: more entries for ``model.json`` and for the header of the file of arrays.
    """
    directory.mkdir(parents=True, exist_ok=True)
    card = json.dumps({'name': name, 'options': dict(options), **about})
    write_safetensors(directory / SAFETENSORS_FILE, variables, {'model': card})
    write_description(directory, name, options, about)


def write_description(
    directory: Path, name: str, options: Mapping[str, Any], about: Mapping[str, Any] | None = None
) -> None:
    """Writes ``model.json``: the model's name, its options, and the entries of ``about``."""
    description = {'name': name, 'options': dict(options), **(about or {})}
    write_whole(directory / 'model.json', json.dumps(description, indent=2) + '\n')


def describe_weights(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Reads the name and the options of a model from a folder of weights or a work directory.

    Modules that the model needs are imported if this user has trained with them.

    Raises:
      ImportsError: if a module cannot be imported, or may not be imported without a flag.
      WeightsError: if the folder has no weights, or its ``model.json`` does not describe a model.
    """
    directory = find_weights(source)
    kept = (directory / 'variables', directory / SAFETENSORS_FILE)
    path = directory / 'model.json'
    try:
        has_weights = any(p.exists() for p in kept) or checkpoint_steps(directory / 'checkpoints')
        if not (path.exists() and has_weights):
            raise WeightsError(
                f'{directory} has no weights: model.json and variables are needed (a folder of '
                f'weights), or model.json and a checkpoint (a run)'
            )
        description = json.loads(path.read_text())
    except OSError as error:
        raise WeightsError(f'{directory} cannot be read: {error.strerror}') from error
    except WeightsError:
        raise
    except (ValueError, RecursionError) as error:
        raise WeightsError(f'{path} is not JSON: {error}') from error
    match description:
        case {'name': str(name), 'options': dict(options)}:
            _check_options(path, options)
            modules = description.get('imports', '')
            if not isinstance(modules, str):
                raise WeightsError(f'{path}: imports={modules!r} must be names separated by commas')
            load_modules_of_weights(modules, directory)
            return name, options
    raise WeightsError(f'{path} does not describe a model: it needs a name and options')


def _check_options(path: Path, options: Mapping[str, Any]) -> None:
    """Raises WeightsError if an option has another type than in the networks."""
    defaults = {f.name: f.default for network in NETWORKS for f in option_fields(network)}
    # The default None does not determine the type.
    defaults |= {'num_steps': 0, 'scan_layers': None}
    defaults |= {'neuron_options': {}, 'activation_options': {}}
    for key, value in options.items():
        holds, expected = {
            bool: (isinstance(value, bool), 'true or false'),
            int: (_is_whole(value), 'a whole number'),
            float: (isinstance(value, float) or _is_whole(value), 'a number'),
            str: (isinstance(value, str), 'text'),
            tuple: (isinstance(value, list) and all(map(_is_whole, value)), 'whole numbers'),
            dict: (isinstance(value, dict), 'options by name'),
        }.get(type(defaults.get(key)), (True, ''))
        if not (holds or value is None):
            raise WeightsError(
                f'{path} does not describe a model: {key}={value} must be {expected}'
            )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def open_weights(
    source: str | Path, num_steps: int | None = None, checkpoint: str | int = 'newest'
) -> tuple[Network, Variables]:
    """Opens weights: returns the model, unrolled, and its variables.

    Args:
      source: a folder of weights, a work directory, or another name that `find_weights` takes.
      num_steps: the number of time steps, or None for that of the training.
      checkpoint: the checkpoint of a run, as in `load_weights`.

    Raises:
      WeightsError: if there are no weights, or they do not fit the model.
    """
    name, options = describe_weights(source)
    if num_steps is not None:
        options['num_steps'] = num_steps
    try:
        model = create_model(name, **options).unrolled()
        variables = load_weights(source, checkpoint)
        like = _expected(model, model.image_size(variables['params']))
    except WeightsError:
        raise
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{source}: {error}') from error
    return model, fit_weights(model, like, variables)[0]


def load_pretrained(name: str, num_steps: int | None = None) -> tuple[Network, Variables]:
    """Loads a network whose trained weights are part of the package.

    Example::

      model, variables = snnjax.load_pretrained('ms_resnet20_cifar10')
      logits = model.apply(variables, images)

    `snnjax.load` also returns the preprocessing and the names of the classes.

    Args:
      name: the name of the weights, one of `list_pretrained`.
      num_steps: the number of time steps T, or None for that of the training.

    Returns:
      The model and its variables, ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays.

    Raises:
      PathError: if the package has no weights of this name.
    """
    return open_weights(f'{PRETRAINED}{name}', num_steps)


def load_weights(source: str | Path, checkpoint: str | int = 'newest') -> Variables:
    """Loads the variables of a folder of weights or of a checkpoint.

    If a checkpoint has an average of the weights over training, the average is returned.

    Args:
      source: a folder of weights, a work directory, or another name that `find_weights` takes.
      checkpoint: the checkpoint of a run: 'newest', 'best' (by `best_step`), or a step, as an int
        or its digits.

    Returns:
      The variables ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays, repeated layers not
      stacked.

    Raises:
      WeightsError: if there are no weights or no such checkpoint, or if the files are damaged.
    """
    name, options = describe_weights(source)
    directory = find_weights(source).absolute()
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
        found = read_metadata(path)
        # The optimizer's state of a run is not read.
        keys = ('average',) if found.get('average') else ('params', 'batch_stats')
        part = {key: found.get(key, {}) for key in keys}
        _check_arrays(path, part.get('average', part), name, options)
        restored = _restore_arrays(path, part)
    except WeightsError:
        raise
    # Orbax and TensorStore raise errors of many types for damaged files.
    except Exception as error:
        reason = str(error).partition('\n')[0][:200]
        raise WeightsError(
            f'{path} cannot be read: {reason}\nPut back a copy; for a checkpoint of a run, run its '
            f'command again, which resumes from the previous checkpoint'
        ) from error
    restored = restored.get('average', restored)
    return unstack_layers(trained_part(restored))


# Arrays above _ALWAYS_READ bytes are refused if the files are more than this many times smaller:
# only constant arrays compress so well.
_MOST_COMPRESSED = 1000
_ALWAYS_READ = 2**26


def _check_arrays(
    path: Path, described: Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> None:
    """Raises WeightsError if the arrays are not those of the model, before they are allocated."""
    arrays = by_name(described)
    for key, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise WeightsError(f'{path}: {key} is {array.dtype}, expected a floating type')
    size = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays.values())
    on_disk = size_of(path)
    if size > max(_ALWAYS_READ, _MOST_COMPRESSED * on_disk):
        raise WeightsError(
            f'{path} should have {size:,} bytes of arrays in {on_disk:,} bytes of files: '
            'these cannot be trained weights'
        )
    shapes = {key: jax.ShapeDtypeStruct(a.shape, a.dtype) for key, a in arrays.items()}
    given = jax.tree.unflatten(jax.tree.structure(described), shapes.values())
    given = jax.eval_shape(unstack_layers, trained_part(given))
    try:
        model = create_model(name, **options).unrolled()
        expected = _expected(model, model.image_size(given['params']))
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{path.parent}: {error}') from error
    if problems := differences(by_name(expected), by_name(given)):
        raise WeightsError(
            f'{path} does not have the arrays of {name} as model.json describes it:\n  '
            + '\n  '.join(problems)
        )


@functools.lru_cache(maxsize=4)
def _expected(model: Network, size: tuple[int, int]) -> dict[str, Any]:
    """Returns the shapes and dtypes of a model's variables for images of a size (H, W)."""
    image = jax.ShapeDtypeStruct((1, *size, model.in_channels), 'float32')
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return trained_part(variables)


def _restore_arrays(path: Path, part: Mapping[str, Any]) -> dict[str, Any]:
    # The arrays are restored as NumPy arrays, whatever devices they were saved from.
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), part)
    return ocp.PyTreeCheckpointHandler().restore(
        for_orbax(path),
        args=ocp.args.PyTreeRestore(item=part, restore_args=arguments, partial_restore=True),
    )


def _load_safetensors(path: Path) -> Variables:
    try:
        return read_safetensors(path)
    except ValueError as error:
        raise WeightsError(str(error)) from error


# Options that do not change what the weights compute, or that follow from their shapes.
_SAID_ELSEWHERE = ('num_classes', 'in_channels', 'step_logits', 'scan_layers', 'remat')


def trained_otherwise(source: str | Path, model: Network) -> list[str]:
    """Returns a line with the options that differ from those of the weights' training, if any.

    Args:
      source: a folder of weights or a work directory.
      model: the network that uses the weights.
    """
    name, options = describe_weights(source)
    try:
        theirs = create_model(name, **options)
    except (TypeError, ValueError):  # Another version may have written them.
        return []
    different = [
        field.name
        for field in option_fields(type(model))
        if field.name not in _SAID_ELSEWHERE
        and getattr(theirs, field.name, None) != getattr(model, field.name)
    ]

    def listed(network: Network) -> str:
        values = {key: getattr(network, key, None) for key in different}
        # Activations have the dtype of the images, float32.
        values |= {key: 'float32' for key in ('dtype',) if key in values and not values[key]}
        return ', '.join(f'{key}={value}' for key, value in values.items())

    if not different:
        return []
    return [f'they were trained with {listed(theirs)}; this run has {listed(model)}']
