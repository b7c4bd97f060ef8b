"""Conversion of trained ANNs to spiking networks."""

from snnjax.conversion.methods import METHODS, Method, convert
from snnjax.conversion.network import (
    Ann,
    Batch,
    Calibration,
    ConversionError,
    Converted,
)
from snnjax.conversion.simulation import simulate

__all__ = [
    'METHODS',
    'Ann',
    'Batch',
    'Calibration',
    'ConversionError',
    'Converted',
    'Method',
    'convert',
    'simulate',
]
