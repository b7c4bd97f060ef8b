"""Spiking neurons as pure functions on arrays."""

from snnjax.neurons.adaptive import adaptive_lif
from snnjax.neurons.integrate_and_fire import lif
from snnjax.neurons.membrane import membrane_potential
from snnjax.neurons.registry import NEURONS, Neuron
from snnjax.neurons.surrogates import (
    SURROGATES,
    Surrogate,
    arctan,
    rectangular,
    sigmoid,
    triangular,
)

__all__ = [
    'NEURONS',
    'SURROGATES',
    'Neuron',
    'Surrogate',
    'adaptive_lif',
    'arctan',
    'lif',
    'membrane_potential',
    'rectangular',
    'sigmoid',
    'triangular',
]
