"""Deep residual spiking networks in JAX."""

from snnjax.models import create_model, list_models
from snnjax.version import __version__

__all__ = ['__version__', 'create_model', 'list_models']
