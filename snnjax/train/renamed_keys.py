"""Renamed keys of the configuration; the old names work for one more release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections

from snnjax.train.progress import warn

RENAMED = {
    'average_decay': 'ema_decay',
    'new_classifier': 'reset_head',
    'clip_norm': 'grad_clip_norm',
}
"""The new name of each old name, without sections such as ``optimizer``."""


class RenamingConfigDict(ml_collections.ConfigDict):
    """A configuration whose old keys set the new ones, with a warning."""

    def __setitem__(self, key: str, value: Any) -> None:
        key = current_key(key)
        # A dictionary becomes what the key has now; by default it would become one of this class.
        if isinstance(value, dict) and isinstance(self.get(key), ml_collections.ConfigDict):
            value = type(self[key])(value)
        super().__setitem__(key, value)

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(current_key(key), value)


def current_key(key: str) -> str:
    """Returns the current name of a key, and warns if it was renamed.

    Args:
      key: a key, with dots between its parts.
    """
    parts, dot, last = key.rpartition('.')
    if last not in RENAMED:
        return key
    new = f'{parts}{dot}{RENAMED[last]}'
    warn(f'warning: config key {key!r} is now {new!r}; the old name goes with the next release')
    return new


def with_current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of an old run with the current names of its keys."""
    return {
        RENAMED.get(key, key): with_current_keys(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
