"""Spiking neurons as pure functions on arrays."""

from snnjax.neurons.integrate_and_fire import lif
from snnjax.neurons.membrane import membrane_potential
from snnjax.neurons.surrogates import (
    SURROGATES,
    Surrogate,
    arctan,
    rectangular,
    sigmoid,
    triangular,
)

__all__ = [
    'SURROGATES',
    'Surrogate',
    'arctan',
    'lif',
    'membrane_potential',
    'rectangular',
    'sigmoid',
    'triangular',
]
