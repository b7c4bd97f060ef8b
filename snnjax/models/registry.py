"""Models by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from typing import Any

from snnjax.models.networks import ResNet
from snnjax.spelling import suggest

CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56, 110, 482)
"""Depths of the paper's CIFAR-10 networks (table 2 and section 4.4)."""


def list_models(pattern: str = '*') -> list[str]:
    """Names of the paper's models that match a shell pattern, in order of family and depth.

    `create_model` knows more: every CIFAR depth 6n + 2.
    """
    names = [f'ms_resnet{depth}' for depth in CIFAR_DEPTHS]
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def create_model(name: str, **options: Any) -> ResNet:
    """Builds a model by name.

    ``create_model('ms_resnet20', num_classes=10, num_steps=4)`` is a Flax module; see
    `snnjax.models.ResNet` for its options and its call.

    Args:
      name: see `list_models`; any CIFAR depth 6n + 2 will do.
      **options: attributes of the network.

    Raises:
      ValueError: for a name that is not known; the message has the nearest ones.
      TypeError: for an option that the model has not; likewise.
    """
    blocks = _blocks(name)
    known = [f.name for f in dataclasses.fields(ResNet) if f.name not in ('name', 'parent')]
    for option in options:
        if option not in known:
            raise TypeError(f'{name} has no option {option!r}; {suggest(option, known)}')
    return ResNet(**{'blocks': blocks} | options)


def _blocks(name: str) -> tuple[int, ...]:
    """Blocks of each stage of the named model."""
    match = re.fullmatch(r'ms_resnet(\d+)', name)
    if not match:
        raise ValueError(f'unknown model {name!r}; {suggest(name, list_models())}')
    depth = int(match[1])
    if depth < 8 or depth % 6 != 2:
        below = max(8, (depth - 2) // 6 * 6 + 2)
        raise ValueError(
            f'unknown model {name!r}: a CIFAR depth is 6n + 2, the nearest are '
            f'ms_resnet{below} and ms_resnet{below + 6}'
        )
    return ((depth - 2) // 6,) * 3
