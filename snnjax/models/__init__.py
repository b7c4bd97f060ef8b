"""Deep residual spiking networks, as Flax modules."""

from snnjax.models.layers import mean_firing_rate
from snnjax.models.networks import ResNet
from snnjax.models.registry import create_model, list_models

__all__ = ['ResNet', 'create_model', 'list_models', 'mean_firing_rate']
