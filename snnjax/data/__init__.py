"""Data sets and their batches. This package makes NumPy arrays only, no JAX arrays."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnjax.data.datasets import Dataset, open_dataset
    from snnjax.data.metadata import PreparedDataError
    from snnjax.data.options import DataOptions
    from snnjax.data.pipeline import WorkerLostError
    from snnjax.data.records import DatasetNotPreparedError
    from snnjax.data.splits import ArraySplit, Split
    from snnjax.data.transforms.images import DecodeError

__all__ = [
    'ArraySplit',
    'DataOptions',
    'Dataset',
    'DatasetNotPreparedError',
    'DecodeError',
    'PreparedDataError',
    'Split',
    'WorkerLostError',
    'open_dataset',
]

# Imported on first access, so that commands parse their arguments without loading TFDS.
_HOMES = {
    'ArraySplit': 'splits',
    'DataOptions': 'options',
    'Dataset': 'datasets',
    'DatasetNotPreparedError': 'records',
    'DecodeError': 'transforms.images',
    'PreparedDataError': 'metadata',
    'Split': 'splits',
    'WorkerLostError': 'pipeline',
    'open_dataset': 'datasets',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    return __all__
