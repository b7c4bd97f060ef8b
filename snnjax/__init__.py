"""Deep residual spiking networks in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from snnjax.version import __version__

if TYPE_CHECKING:
    from snnjax.analysis.inference import load
    from snnjax.models import create_model, list_models
    from snnjax.weights.folder import load_pretrained
    from snnjax.weights.source import list_pretrained

__all__ = [
    '__version__',
    'create_model',
    'list_models',
    'list_pretrained',
    'load',
    'load_pretrained',
]

# Attributes are imported on first use, so that a command's --help does not wait for JAX.
_HOMES = {
    'create_model': 'snnjax.models',
    'list_models': 'snnjax.models',
    'list_pretrained': 'snnjax.weights.source',
    'load': 'snnjax.analysis.inference',
    'load_pretrained': 'snnjax.weights.folder',
}


def __getattr__(name: str) -> Any:
    if name in ('models', 'neurons'):
        return importlib.import_module(f'{__name__}.{name}')
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
