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
      directory: must not have weights in it.
      variables: ``{'params': ..., 'batch_stats': ...}``, in either form of repeated layers.
      name: name of the model.
      options: options of `create_model`, what JSON can hold.

    Raises:
      WeightsError: where there are weights already.
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
      directory: folder that is made, or empty.
      variables: variables as for `save_weights`.
      name: name of the model.
      options: options of `create_model`, what JSON can hold.
      about: goes into ``model.json`` and into the header of the arrays, too.
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

    Modules that it needs are imported, if this user has trained with them.

    Raises:
      ImportsError: for a module that may not be imported unasked, or cannot be.
      WeightsError: where it is neither, or its ``model.json`` does not say.
    """
    directory = find_weights(source)
    kept = (directory / 'variables', directory / SAFETENSORS_FILE)
    path = directory / 'model.json'
    try:
        has_weights = any(p.exists() for p in kept) or checkpoint_steps(directory / 'checkpoints')
        if not (path.exists() and has_weights):
            raise WeightsError(
                f'{directory} has no weights: model.json and variables, as a folder of weights '
                f'has, or model.json and a checkpoint, as a run has'
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
                raise WeightsError(f'{path}: imports={modules!r} must be names with commas between')
            load_modules_of_weights(modules, directory)
            return name, options
    raise WeightsError(f'{path} does not describe a model: it needs a name and options')


def _check_options(path: Path, options: Mapping[str, Any]) -> None:
    """Raises WeightsError for an option of another type than the networks have it."""
    defaults = {f.name: f.default for network in NETWORKS for f in option_fields(network)}
    # None stands for more than one type.
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
    """The model that weights are of, each of its layers for itself, and its variables.

    Args:
      source: a folder of weights or a work directory.
      num_steps: time steps; None for those of training.
      checkpoint: the checkpoint of a run, see `load_weights`.

    Raises:
      WeightsError: where there are none, or others than the model's.
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
    """Loads a network whose trained weights come with the package.

    Example::

      model, variables = snnjax.load_pretrained('ms_resnet20_cifar10')
      logits = model.apply(variables, images)

    `snnjax.load` has the preprocessing and the names of the classes, too.

    Args:
      name: name of the weights, one of `list_pretrained`.
      num_steps: time steps T; None for those of training.

    Returns:
      The model and its variables, ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays.

    Raises:
      PathError: if no weights of this name come with the package.
    """
    return open_weights(f'{PRETRAINED}{name}', num_steps)


def load_weights(source: str | Path, checkpoint: str | int = 'newest') -> Variables:
    """Loads the variables of a folder of weights, or of a checkpoint of a run: the average if any.

    Args:
      source: a folder of weights or a work directory.
      checkpoint: for a run, 'newest', 'best' (by `best_step`) or a step, a number or its digits.

    Returns:
      ``{'params': ..., 'batch_stats': ...}`` of NumPy arrays; repeated layers are not stacked.

    Raises:
      WeightsError: if there are none, no such checkpoint, or they are damaged.
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
        # Of a run, the optimizer's state stays where it is.
        keys = ('average',) if found.get('average') else ('params', 'batch_stats')
        part = {key: found.get(key, {}) for key in keys}
        _check_arrays(path, part.get('average', part), name, options)
        restored = _restore_arrays(path, part)
    except WeightsError:
        raise
    # Orbax and TensorStore have errors of many kinds for files that are damaged.
    except Exception as error:
        reason = str(error).partition('\n')[0][:200]
        raise WeightsError(
            f'{path} cannot be read: {reason}\nPut back a copy; if it is of a run, the command of '
            f'the run goes on from the checkpoint before'
        ) from error
    restored = restored.get('average', restored)
    return unstack_layers(trained_part(restored))


# Arrays that are larger are not made of files that are this many times smaller: only arrays of one
# number all over are.
_MOST_COMPRESSED = 1000
_ALWAYS_READ = 2**26


def _check_arrays(
    path: Path, described: Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> None:
    """Raises WeightsError if arrays are not those of a model, before they are made."""
    arrays = by_name(described)
    for key, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise WeightsError(f'{path}: {key} is {array.dtype}, expected a floating type')
    size = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays.values())
    on_disk = size_of(path)
    if size > max(_ALWAYS_READ, _MOST_COMPRESSED * on_disk):
        raise WeightsError(
            f'{path} should have {size:,} bytes of arrays in {on_disk:,} bytes of files: '
            'these are no trained weights'
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
    """Shapes and dtypes of the variables of a model, for images of a size."""
    image = jax.ShapeDtypeStruct((1, *size, model.in_channels), 'float32')
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return trained_part(variables)


def _restore_arrays(path: Path, part: Mapping[str, Any]) -> dict[str, Any]:
    # As NumPy arrays, on whatever devices they were when they were saved.
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


# Options that change nothing of what weights are for, or that shapes tell.
_SAID_ELSEWHERE = ('num_classes', 'in_channels', 'step_logits', 'scan_layers', 'remat')


def trained_otherwise(source: str | Path, model: Network) -> list[str]:
    """Returns a line with the options of a model that its weights were not trained with, if any.

    Args:
      source: a folder of weights or a work directory.
      model: the network that the weights are used in.
    """
    name, options = describe_weights(source)
    try:
        theirs = create_model(name, **options)
    except (TypeError, ValueError):  # Of another version, say.
        return []
    different = [
        field.name
        for field in option_fields(type(model))
        if field.name not in _SAID_ELSEWHERE
        and getattr(theirs, field.name, None) != getattr(model, field.name)
    ]

    def listed(network: Network) -> str:
        values = {key: getattr(network, key, None) for key in different}
        # Activations follow the images, which are float32.
        values |= {key: 'float32' for key in ('dtype',) if key in values and not values[key]}
        return ', '.join(f'{key}={value}' for key, value in values.items())

    if not different:
        return []
    return [f'they were trained with {listed(theirs)}; this run has {listed(model)}']
