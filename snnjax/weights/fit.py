"""Weights in the form of a model: what fits, what does not, what was trained otherwise."""

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
    """Brings weights into the form of a model.

    Args:
      model: the network.
      like: its variables, for their shapes, dtypes and, where kept, the classifier.
      variables: of `load_weights`.
      reset_head: keep the classifier of ``like`` where the weights have another number of
        classes.

    Returns:
      The variables, and the names of the parameters that were kept from ``like``.

    Raises:
      WeightsError: where something is missing, left over or of another shape; the message has all.
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
    """Returns a line for each array that does not fit, but for those that are kept."""
    return [
        *(f'missing: {key}' for key in sorted(expected.keys() - given.keys())),
        *(f'unexpected: {key}' for key in sorted(given.keys() - expected.keys())),
        *(
            f'{key}: shape {given[key].shape}, expected {expected[key].shape}'
            for key in sorted(expected.keys() & given.keys())
            if given[key].shape != expected[key].shape and key not in kept
        ),
    ]
