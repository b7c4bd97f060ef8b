"""Deep residual spiking networks, as Flax modules."""

from snnjax.models.compilation import compiler_options
from snnjax.models.conv_nets import ConvNet
from snnjax.models.densenets import DenseNet
from snnjax.models.efficientnets import EfficientNet
from snnjax.models.few_spike_layers import FewSpikes
from snnjax.models.layers import mean_firing_rate
from snnjax.models.network import Network
from snnjax.models.registry import create_model, list_models
from snnjax.models.resnets import ResNet
from snnjax.models.sengupta import SenguptaResNet
from snnjax.models.vgg import VGG

__all__ = [
    'VGG',
    'ConvNet',
    'DenseNet',
    'EfficientNet',
    'FewSpikes',
    'Network',
    'ResNet',
    'SenguptaResNet',
    'compiler_options',
    'create_model',
    'list_models',
    'mean_firing_rate',
]
