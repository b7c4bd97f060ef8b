"""Weights fitted to a model: missing, unexpected and differently shaped arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jax

from snnjax.errors import WeightsError
from snnjax.models import Network
from snnjax.models.params import CLASSIFIER, by_name, place, stack_layers, unstack_layers


def fit_weights(
    model: Network,
    like: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    reset_head: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Fits weights to a model, and stacks repeated layers if the model scans them.

    Args:
      model: the network.
      like: the model's variables, for their shapes and dtypes, and for a classifier that is kept.
      variables: the weights, as `load_weights` returns them.
      reset_head: True to keep the classifier of ``like`` if the weights have another number of
        classes.

    Returns:
      The variables, and the names of the parameters that were kept from ``like``.

    Raises:
      WeightsError: if an array is missing, unexpected or of another shape; the message lists all.
    """
    expected = by_name(unstack_layers(like))
    given = by_name(variables)
    kept = [
        key
        for key in sorted(expected.keys() & given.keys())
        if reset_head and key.startswith(CLASSIFIER) and given[key].shape != expected[key].shape
    ]
    if problems := differences(expected, given, kept):
        raise WeightsError('the weights do not fit the model:\n  ' + '\n  '.join(problems))

    def choose(path: Any, leaf: Any) -> Any:
        key = place(path)
        return leaf if key in kept else given[key].astype(leaf.dtype)

    fitted = jax.tree.map_with_path(choose, unstack_layers(like))
    return (stack_layers(fitted) if model.scans_layers else fitted), kept


def differences(
    expected: Mapping[str, Any], given: Mapping[str, Any], kept: Collection[str] = ()
) -> list[str]:
    """Returns a line for each array that does not fit, except for those that are kept."""
    return [
        *(f'missing: {key}' for key in sorted(expected.keys() - given.keys())),
        *(f'unexpected: {key}' for key in sorted(given.keys() - expected.keys())),
        *(
            f'{key}: shape {given[key].shape}, expected {expected[key].shape}'
            for key in sorted(expected.keys() & given.keys())
            if given[key].shape != expected[key].shape and key not in kept
        ),
    ]
