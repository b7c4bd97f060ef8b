"""Construction of models by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import numbers
import re
from collections.abc import Mapping
from typing import Any, cast

from flax.core import FrozenDict

from snnjax.models.conv_nets import ConvNet
from snnjax.models.densenets import DENSE_NETS, DenseNet
from snnjax.models.efficientnets import EFFICIENT_NETS, EfficientNet
from snnjax.models.network import Network
from snnjax.models.resnets import ResNet
from snnjax.models.sengupta import SENGUPTA_RESNETS, SenguptaResNet
from snnjax.models.vgg import VGG, VGGS
from snnjax.spelling import did_you_mean

CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56, 110, 482)
"""Depths of the paper's CIFAR-10 networks (table 2 and section 4.4)."""

IMAGENET_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    104: (3, 8, 32, 8),
    152: (3, 8, 36, 3),
}
"""Blocks per stage of the ImageNet networks, by depth. They are those of table 8 and of He et al.
2016, whose networks have bottlenecks from depth 50 on."""

BOTTLENECK_DEPTHS = (50, 101, 152)


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of networks that differ in depth.

    Attributes:
      options: the options of `ResNet` that all networks of the family have.
      cifar_depths: the published depths for CIFAR.
      forms: the options of networks whose depth follows no rule, by depth.
      imagenet_depths: the depths for ImageNet.
      imagenet_options: the options that replace those of the networks for ImageNet.
    """

    options: dict[str, Any]
    cifar_depths: tuple[int, ...] = CIFAR_DEPTHS
    forms: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    imagenet_depths: tuple[int, ...] = (18, 34, 104)
    imagenet_options: dict[str, Any] = dataclasses.field(default_factory=dict)


_IF = {'decay': 1.0, 'threshold': 1.0, 'surrogate': 'arctan'}

FAMILIES = {
    'ms_resnet': Family({'kind': 'ms'}),
    'vanilla_resnet': Family({'kind': 'vanilla'}),
    'plain_net': Family({'kind': 'plain'}),
    'wo_lif_resnet': Family({'kind': 'wo_lif'}),
    'lif_before_add_resnet': Family({'kind': 'lif_before_add'}),
    'ann_resnet': Family({'kind': 'ann'}),
    # He et al. 2016. The networks for ImageNet are torchvision's.
    'relu_resnet': Family(
        {'kind': 'vanilla', 'activation': 'relu'},
        imagenet_depths=(18, 34, 50, 101),
        imagenet_options={
            'max_pool': True,
            'strides': (1, 2, 2, 2),
            'zero_init_residual': False,
        },
    ),
    # Zheng et al. 2021.
    'tdbn_resnet': Family(
        {'kind': 'vanilla', 'runtime_scale': True},
        cifar_depths=(),
        forms={19: {'blocks': (3, 3, 2), 'widths': (128, 256, 512), 'hidden': (256,)}},
        imagenet_depths=(34, 50),
        imagenet_options={'zero_init_residual': False},
    ),
    # Fang et al. 2021, Deep residual learning in spiking neural networks.
    'sew_resnet': Family(
        {'kind': 'lif_before_add', **_IF},
        cifar_depths=(),
        imagenet_depths=(18, 34, 50, 101, 152),
        imagenet_options={
            'max_pool': True,
            'strides': (1, 2, 2, 2),
            'zero_init_residual': False,
        },
    ),
}
"""The families, by the first part of a model's name."""

# Fang et al. 2020, Incorporating learnable membrane time constant. A tau of 2 is a decay of 1/2.
_PLIF = {
    'decay': 0.5,
    'decay_input': True,
    'learnable_decay': True,
    'threshold': 1.0,
    'surrogate': 'arctan',
    'dropout': 0.5,
}
_PLIF_EVENTS = {**_PLIF, 'in_channels': 2}

CONV_NETS: dict[str, dict[str, Any]] = {
    'plif_cifar10': {
        **_PLIF,
        'channels': (256,) * 6,
        'pools': (1, 1, 2, 1, 1, 2),
        'hidden': (2048,),
    },
    'plif_nmnist': {**_PLIF_EVENTS, 'channels': (128,) * 2, 'pools': (2,) * 2, 'hidden': (2048,)},
    'plif_cifar10_dvs': {
        **_PLIF_EVENTS,
        'channels': (128,) * 4,
        'pools': (2,) * 4,
        'hidden': (512,),
    },
    'plif_dvs_gesture': {
        **_PLIF_EVENTS,
        'num_classes': 11,
        'channels': (128,) * 5,
        'pools': (2,) * 5,
        'hidden': (512,),
    },
    # Yao et al. 2021.
    'ta_snn': {
        'in_channels': 2,
        'decay': 0.3,
        'threshold': 0.3,
        'reset': 0.3,
        'detach_reset': False,
        'channels': (32, 64, 128, 256, 512),
        'pools': (2, 2, 2, 2, 4),
        'pooling': 'average',
        'hidden': (256,),
        'voters': 1,
        'dense_norm': True,
        'attention': 5,
    },
}
"""Options of `ConvNet` by network name."""

NAMED: dict[str, tuple[type[Network], dict[str, Any]]] = {
    name: (network, form)
    for network, forms in (
        (ConvNet, CONV_NETS),
        (VGG, VGGS),
        (SenguptaResNet, SENGUPTA_RESNETS),
        (EfficientNet, EFFICIENT_NETS),
        (DenseNet, DENSE_NETS),
    )
    for name, form in forms.items()
}
"""The class and options of each network whose name follows no rule."""

NETWORKS = (ResNet, ConvNet, VGG, SenguptaResNet, EfficientNet, DenseNet)
"""All network classes."""

ROLLOUT = 'rollout_'
"""The prefix of rollout names; the sequential network's name follows."""

_NAME = re.compile(r'(?P<family>[a-z_]+?)(?P<depth>\d+)(x(?P<widen>\d+))?(?P<dvs>_dvs)?')


def list_models(pattern: str = '*') -> list[str]:
    """Returns the names of published models that match a shell pattern, by family and depth.

    `create_model` accepts more names.
    """
    names = []
    for name, family in FAMILIES.items():
        depths = (*family.cifar_depths, *family.forms, *family.imagenet_depths)
        names += [f'{name}{depth}' for depth in depths]
        if 20 in family.cifar_depths:
            names.append(f'{name}20_dvs')
    names += ['tdbn_resnet34x2', *NAMED, *(f'{ROLLOUT}{name}' for name in DENSE_NETS)]
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def create_model(name: str, **options: Any) -> Network:
    """Builds a model by name.

    ``create_model('ms_resnet20', num_classes=10, num_steps=4)`` returns a Flax module. Its options
    and its call are those of `snnjax.models.ResNet`. Networks in `NAMED` have names of their own
    and the options of `snnjax.models.ConvNet`, `VGG`, `SenguptaResNet`, `EfficientNet` or
    `DenseNet`.

    All other names consist of a family, a depth and optional suffixes:

    - Depths 18, 34 and 104 are for ImageNet (table 8), with 1000 classes. Depths 6n + 2 are for
      CIFAR (table 1), with 10 classes. Depth 104 has a stem of three convolutions, shortcuts that
      pool, and dropout. ``relu_resnet``, ``tdbn_resnet`` and ``sew_resnet`` have other depths for
      ImageNet, see `FAMILIES`; ``tdbn_resnet19`` is the network of Zheng et al. for CIFAR.
    - ``x2``, ``x4``, ... multiply all widths, as in ``ms_resnet20x4``.
    - ``_dvs`` is for frames of an event camera of 128x128 pixels (section 5.2). These networks have
      two input channels and stride 2 in the stem and the first stage, which leaves 32x32 pixels.

    Args:
      name: the name of the model; `list_models` returns those of the paper.
      **options: the attributes of the network that replace those of the name.

    Raises:
      ValueError: if the name is unknown or an option is invalid.
      TypeError: if the model does not have an option, or its value has another type.
    """
    sequential = name.removeprefix(ROLLOUT)
    network, form = NAMED[sequential] if sequential in NAMED else (ResNet, _form(sequential))
    if sequential != name:
        form = {**form, 'rollout': True}
    known = [field.name for field in option_fields(network)]
    for option in options:
        if option not in known:
            raise TypeError(f'{name} has no option {option!r}; {did_you_mean(option, known)}')
    options = {option: _hashable(value) for option, value in options.items()}
    for field in option_fields(network):
        if field.name in options and field.name not in _CHECKED_BY_NETWORKS:
            _check_type(name, field, options[field.name])
    return network(**form | options)


def _hashable(value: Any) -> Any:
    """Returns tuples for lists and `FrozenDict` for mappings, since modules must be hashable."""
    if isinstance(value, Mapping):
        return FrozenDict({key: _hashable(inner) for key, inner in value.items()})
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


_CHECKED_BY_NETWORKS = ('dtype', 'scan_layers')


def _check_type(name: str, field: dataclasses.Field[Any], value: Any) -> None:
    """Raises TypeError if the type of an option differs from that of its default."""

    def is_whole(number: Any) -> bool:
        return isinstance(number, numbers.Integral) and not isinstance(number, bool)

    match field.default:
        case bool():
            expected, holds = 'true or false', isinstance(value, bool)
        case int():
            expected, holds = 'a whole number', is_whole(value)
        case float():
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            expected, holds = 'a number', is_number and math.isfinite(value)
        case str():
            expected, holds = 'a string', isinstance(value, str)
        case tuple():
            are_whole = isinstance(value, tuple) and all(map(is_whole, value))
            expected, holds = 'whole numbers, such as (16, 32)', are_whole
        case Mapping():
            expected, holds = (
                "options by name, such as {'adaptation': 0.2}",
                isinstance(value, Mapping),
            )
        case _:
            expected, holds = 'a whole number or none', value is None or is_whole(value)
    if not holds:
        raise TypeError(f'{name}: {field.name}={value!r} must be {expected}')


def option_fields(network: type[Network]) -> list[dataclasses.Field[Any]]:
    """Returns the attributes of a network that are its options."""
    fields = dataclasses.fields(cast(Any, network))
    return [field for field in fields if field.name not in ('name', 'parent')]


def family_and_depth(name: str) -> tuple[str, int | None]:
    """Returns the family and the depth of a name, such as ``('ms_resnet', 20)``.

    Networks in `NAMED` are their own family and have no depth.

    Raises:
      ValueError: if the name is not the name of a model.
    """
    sequential = name.removeprefix(ROLLOUT)
    if sequential in NAMED:
        return name, None
    match = _parse(sequential)
    return name[: len(name) - len(sequential)] + match['family'], int(match['depth'])


def _parse(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if not match or match['family'] not in FAMILIES:
        raise ValueError(f'unknown model {name!r}; {did_you_mean(name, list_models())}')
    return match


def _form(name: str) -> dict[str, Any]:
    """Returns the options of the network with this name."""
    match = _parse(name)
    family, depth = FAMILIES[match['family']], int(match['depth'])
    if depth in family.imagenet_depths and not match['dvs']:
        form = _imagenet_form(depth) | family.imagenet_options
    elif depth in family.forms and not match['dvs']:
        form = dict(family.forms[depth])
    elif depth < 8 or depth % 6 != 2:
        below = max(8, (depth - 2) // 6 * 6 + 2)
        raise ValueError(
            f'unknown model {name!r}: a CIFAR depth is 6n + 2, the nearest are '
            f'{match["family"]}{below} and {match["family"]}{below + 6}; depths for ImageNet are '
            f'{", ".join(map(str, family.imagenet_depths))}'
        )
    else:
        form = {'blocks': ((depth - 2) // 6,) * 3, 'widths': (16, 32, 64)}
    if match['dvs']:
        form |= {
            'in_channels': 2,
            'stem_stride': 2,
            'strides': (2, 2, 2),
            'project_shortcut': False,
        }
    widen = int(match['widen'] or 1)
    form['widths'] = tuple(width * widen for width in form['widths'])
    return family.options | form


def _imagenet_form(depth: int) -> dict[str, Any]:
    form = {
        'num_classes': 1000,
        'stem': 'conv7',
        'stem_stride': 2,
        'blocks': IMAGENET_BLOCKS[depth],
        'widths': (64, 128, 256, 512),
        'strides': (2, 2, 2, 2),
        'bottleneck': depth in BOTTLENECK_DEPTHS,
        'zero_init_residual': True,
    }
    if depth == 104:
        form |= {'stem': 'conv3x3x3', 'avgpool_shortcut': True, 'dropout': 0.2}
    return form
