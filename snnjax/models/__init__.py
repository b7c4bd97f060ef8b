"""Deep residual spiking networks, as Flax modules."""

from snnjax.models.compilation import compiler_options
from snnjax.models.layers import mean_firing_rate
from snnjax.models.networks import ResNet
from snnjax.models.registry import create_model, list_models

__all__ = ['ResNet', 'compiler_options', 'create_model', 'list_models', 'mean_firing_rate']
