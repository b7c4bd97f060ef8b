"""Data sets and the batches made of them. NumPy only: no JAX array is made here."""

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
