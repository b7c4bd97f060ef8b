"""Torchvision's layer names of VGGs and EfficientNets.

==============================  ==================================
path here                       torchvision's
==============================  ==================================
VGG: conv3/conv/kernel          features.5.weight
VGG: conv3/norm/scale           features.8.weight (of VGG-16-BN)
VGG: dense2/kernel              classifier.3.weight
stem/conv/kernel                features.0.0.weight
stage2/block1/conv1/norm/scale  features.2.0.block.0.1.weight
.../squeeze_excite/excite/bias  features.2.0.block.2.fc2.bias
head/conv/kernel                features.8.0.weight
classifier/kernel               classifier.1.weight, .6. of VGG-16
==============================  ==================================

Indices count all members of a sequence, including activations and pooling.
"""

from __future__ import annotations

from snnjax.models.efficientnets import EfficientNet
from snnjax.models.vgg import VGG

Path = tuple[str, ...]


def vgg_modules(model: VGG, modules: Path) -> list[str] | None:
    """Returns the parts of a VGG layer's name; None if torchvision has none.

    Args:
      model: the network.
      modules: the names of the modules here, such as ``('conv1', 'norm')``.
    """
    if modules == ('classifier',):
        return ['classifier', str(3 * len(model.hidden))]
    if modules[0].startswith('dense') and modules[0].removeprefix('dense').isdigit():
        return ['classifier', str(3 * (int(modules[0].removeprefix('dense')) - 1))]
    if not modules[0].startswith('conv'):
        return None
    # A layer is a convolution, a normalization if any, and an activation. Pooling ends a stage.
    each, layer = 3 if model.normalize else 2, int(modules[0].removeprefix('conv')) - 1
    ends = [sum(model.blocks[:stage]) for stage in range(1, len(model.blocks))]
    number = each * layer + sum(layer >= end for end in ends)
    return ['features', str(number + (modules[1] == 'norm'))]


def efficientnet_modules(model: EfficientNet, modules: Path) -> list[str] | None:
    """Returns the parts of an EfficientNet layer's name; None if torchvision has none.

    Args:
      model: the network.
      modules: the names of the modules here, such as ``('stage1', 'block1', 'conv2', 'norm')``.
    """
    number = {'conv': '0', 'norm': '1', 'squeeze': 'fc1', 'excite': 'fc2'}
    match modules:
        case ('classifier',):
            return ['classifier', '1']
        case ('stem' | 'head' as place, layer):
            return [
                'features',
                '0' if place == 'stem' else str(len(model.blocks) + 1),
                number[layer],
            ]
        case (stage, block, part, layer) if layer in number:
            stage_number = int(stage.removeprefix('stage'))
            parts = ['conv1', 'conv2', 'squeeze_excite', 'conv3']
            if model.expansions[stage_number - 1] == 1:
                parts.remove('conv1')
            of_block = ['features', str(stage_number), str(int(block.removeprefix('block')) - 1)]
            return [*of_block, 'block', str(parts.index(part)), number[layer]]
    return None
