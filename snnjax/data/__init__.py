"""Data sets and the batches made of them. NumPy only: no JAX array is made here."""

from snnjax.data.datasets import DATASETS, Dataset, DatasetNotPreparedError, Split, get_dataset

__all__ = ['DATASETS', 'Dataset', 'DatasetNotPreparedError', 'Split', 'get_dataset']
