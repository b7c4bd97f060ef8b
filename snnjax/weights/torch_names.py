"""PyTorch names of a network's weights.

Five naming schemes are known:

- 'snnjax': this package's own paths in PyTorch style, for every residual network and VGG here;
- 'authors': the ImageNet checkpoints that the paper's authors have published, which were trained
  with ``strict=True``;
- 'sew_authors': the checkpoints that the authors of SEW-ResNet (Fang et al. 2021) have published;
- 'spikingjelly': the SEW-ResNets of SpikingJelly, which follow torchvision;
- 'torchvision': its ResNets, VGGs and EfficientNets. The last two are described in
  `snnjax.weights.torchvision_names`.

Names of MS-ResNets; the scheme 'snnjax' also covers the others:

============================  ===========================  =====================================
path here                     'snnjax'                     'authors'
============================  ===========================  =====================================
stem/conv/kernel              stem.conv.weight             conv1.0.weight
stem/norm/scale               stem.bn.weight               conv1.1.bn.weight
stem/conv2/bias (of three)    stem.conv2.bias              conv1.1.bias
stage2/block1/conv1/conv/...  blocks.K.c1.conv.weight      conv3_x.0.residual_function.1.weight
stage2/block1/conv2/norm/...  blocks.K.c2.bn.weight        conv3_x.0.residual_function.5.bn.weight
stage2/block1/conv3/conv/...  blocks.K.c3.conv.weight      (no bottlenecks)
stage2/block1/shortcut/...    blocks.K.sc.conv.weight      conv3_x.0.shortcut.0.weight
stage2/block1/spike1/...      blocks.K.spike1.decay_logit  (nothing to learn)
dense1/kernel                 dense1.weight                (no such layers)
classifier/kernel             fc.weight                    fc.weight
============================  ===========================  =====================================

K counts the blocks of all stages. If the shortcut has pooling, its convolution has the index 1.

Names of SEW-ResNets and torchvision's ResNets, whose neurons have no learnable parameters:

============================  ===========================  =====================================
path here                     'sew_authors'                'spikingjelly'
============================  ===========================  =====================================
stem/conv/kernel              conv1.weight                 conv1.weight
stem/norm/scale               bn1.weight                   bn1.weight
stage2/block1/conv1/conv/...  layer2.0.conv1.0.weight      layer2.0.conv1.weight
stage2/block1/conv2/norm/...  layer2.0.conv2.1.weight      layer2.0.bn2.weight
stage2/block1/conv3/conv/...  layer2.0.conv3.0.weight      layer2.0.conv3.weight
stage2/block1/shortcut/conv   layer2.0.downsample.0.0...   layer2.0.downsample.0.weight
stage2/block1/shortcut/norm   layer2.0.downsample.0.1...   layer2.0.downsample.1.weight
classifier/kernel             fc.weight                    fc.weight
============================  ===========================  =====================================
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from snnjax.models.efficientnets import EfficientNet
from snnjax.models.network import Network
from snnjax.models.resnets import ResNet
from snnjax.models.vgg import VGG
from snnjax.spelling import did_you_mean
from snnjax.weights.torchvision_names import efficientnet_modules, vgg_modules

Path = tuple[str, ...]
Scheme = Literal['snnjax', 'authors', 'sew_authors', 'spikingjelly', 'torchvision']

_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'mean': 'running_mean',
    'var': 'running_var',
}
_OUR_MODULES = {
    'conv1': 'c1',
    'conv2': 'c2',
    'conv3': 'c3',
    'shortcut': 'sc',
    'norm': 'bn',
    'classifier': 'fc',
}

# Every network has exactly one such weight, with the prefix of all of its names.
_LANDMARK = re.compile(r'(?:^|\.)(?:fc|features\.0|features\.0\.0)\.weight$')
_WRAPPERS = ('module', '_orig_mod')
# Buffers that frameworks store next to weights, by the ends of their names; they are not used.
_NO_WEIGHT = re.compile(
    r'(?:^|\.)(?:num_batches_tracked|n_averaged|total_ops|total_params|v|v_seq|mem|spike|spike_seq'
    r'|surrogate_function\..*)$'
)

# Patterns that only one scheme matches, in order of precedence.
_MARKS: dict[Scheme, re.Pattern[str]] = {
    'sew_authors': re.compile(r'layer\d+\.\d+\.conv\d+\.\d'),
    'spikingjelly': re.compile(r'layer\d+\.|conv1\.weight'),
    'authors': re.compile(r'conv\d+_x\.|conv1\.\d'),
    'torchvision': re.compile(r'features\.\d'),
}

# The networks that a scheme names, with the options that it supports.
_SEW_NETWORK: tuple[str, dict[str, tuple[Any, ...]]] = (
    'SEW-ResNets, such as sew_resnet34',
    {
        'kind': ('lif_before_add', 'sew_and', 'sew_iand'),
        'stem': ('conv3', 'conv7'),
        'hidden': ((),),
    },
)
_RESNETS: tuple[str, dict[str, tuple[Any, ...]]] = (
    'SEW-ResNets and ReLU ResNets, such as sew_resnet34 and relu_resnet34',
    {**_SEW_NETWORK[1], 'kind': (*_SEW_NETWORK[1]['kind'], 'vanilla')},
)
_NETWORKS: dict[Scheme, tuple[str, dict[str, tuple[Any, ...]]]] = {
    'authors': (
        "the authors' MS-ResNets, such as ms_resnet34",
        {'kind': ('ms',), 'bottleneck': (False,), 'hidden': ((),), 'spiking_shortcut': (False,)},
    ),
    'sew_authors': _SEW_NETWORK,
    'spikingjelly': _RESNETS,
}


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Returns the names of a network's weights in its own code, by the names given.

    The parts ``module`` and ``_orig_mod``, which wrappers for several devices or time steps and
    ``torch.compile`` insert, are removed. A prefix such as ``net.`` is removed if the whole network
    has it. Entries that are not weights are left out: batch counters, membrane states, constants of
    surrogates, totals of profilers, and arrays outside the network.

    Raises:
      ValueError: if two names become the same, or the names belong to two networks.
    """
    plain = {
        name: '.'.join(part for part in name.split('.') if part not in _WRAPPERS)
        for name in names
        if not _NO_WEIGHT.search(name)
    }
    prefix = _network_prefix(plain.values())
    kept = {
        name: short.removeprefix(prefix)
        for name, short in plain.items()
        if short.startswith(prefix)
    }
    seen: dict[str, str] = {}
    for name, short in kept.items():
        if short in seen:
            raise ValueError(f'both {seen[short]} and {name} become {short}: keep one of them')
        seen[short] = name
    return kept


def _network_prefix(names: Iterable[str]) -> str:
    """Returns the prefix of the network's names, with its dot; '' if there is none."""
    found_at = ((name, _LANDMARK.search(name)) for name in names)
    prefixes = {
        name[: match.start()] + ('.' if name[match.start()] == '.' else '')
        for name, match in found_at
        if match
    }
    if '' in prefixes or not prefixes:
        return ''
    if len(prefixes) > 1:
        found = ' and '.join(sorted(prefixes))
        raise ValueError(f'the weights belong to several networks, {found}: keep one of them')
    return prefixes.pop()


def scheme_of(names: Iterable[str]) -> Scheme:
    """Returns the scheme of names that `plain_names` returned; 'snnjax' if no other matches."""
    names = list(names)
    for scheme, mark in _MARKS.items():
        if any(mark.match(name) for name in names):
            return scheme
    return 'snnjax'


def check_scheme(model: Network, scheme: Scheme) -> None:
    """Checks that a scheme has names for a network.

    Raises:
      ValueError: if it has none, or is unknown.
    """
    if scheme not in _MODULES:
        raise ValueError(f'unknown scheme {scheme!r}; {did_you_mean(scheme, _MODULES)}')
    if not model.block_names and not isinstance(model, VGG):
        raise ValueError(
            f'only residual networks and VGGs have names in PyTorch, not a {type(model).__name__}'
        )
    if scheme == 'torchvision' and isinstance(model, EfficientNet | VGG):
        return
    network, needs = _NETWORKS.get('spikingjelly' if scheme == 'torchvision' else scheme, ('', {}))
    if needs and not isinstance(model, ResNet):
        raise ValueError(
            f'the names {scheme!r} are only for {network}, not for a {type(model).__name__}'
        )
    for option, values in needs.items():
        if (value := getattr(model, option)) not in values:
            raise ValueError(
                f'the names {scheme!r} are only for {network}: {option}={value!r} must be '
                f'{" or ".join(map(repr, values))}'
            )


def torch_name(model: Network, path: Path, scheme: Scheme = 'snnjax') -> str:
    """Returns the PyTorch name of a variable, such as 'stem.conv.weight' or 'conv1.0.weight'.

    Args:
      model: the network.
      path: the path here, such as ``('params', 'stem', 'conv', 'kernel')``.
      scheme: the scheme, which must support the network (`check_scheme`).

    Raises:
      ValueError: if the scheme has no name for the variable, such as a learnable threshold.
    """
    _, *modules, leaf = path
    names = _MODULES[scheme](model, tuple(modules))
    if names is None:
        raise ValueError(f'the scheme {scheme!r} has no name for {"/".join(path[1:])}')
    return '.'.join([*names, _LEAVES.get(leaf, leaf)])


def _our_modules(model: Network, modules: Path) -> list[str]:
    if not modules[0].startswith('stage'):
        # The convolutions of a three-layer stem keep their names.
        return [_OUR_MODULES[m] if m in ('norm', 'classifier') else m for m in modules]
    stage, block = _place(modules)
    number = sum(model.blocks[: stage - 1]) + block - 1
    return ['blocks', str(number), *(_OUR_MODULES.get(m, m) for m in modules[2:])]


def _authors_modules(model: Network, modules: Path) -> list[str] | None:
    if modules == ('classifier',):
        return ['fc']
    if modules[0] == 'stem':
        # Indices in a sequence of one or three convolutions and the normalization.
        order = {'conv': 0, 'conv1': 0, 'conv2': 1, 'conv3': 2}
        if modules[1] == 'norm':
            return ['conv1', '3' if model.stem == 'conv3x3x3' else '1', 'bn']
        return ['conv1', str(order[modules[1]])]
    # The residual path has neurons, a convolution and a normalization, twice.
    numbers = {'conv1': 1, 'conv2': 4, 'shortcut': int(model.avgpool_shortcut)}
    if not modules[0].startswith('stage') or modules[2] not in numbers:
        return None
    stage, block = _place(modules)
    number = numbers[modules[2]]
    path = 'shortcut' if modules[2] == 'shortcut' else 'residual_function'
    layer = [str(number + 1), 'bn'] if modules[3] == 'norm' else [str(number)]
    return [f'conv{stage + 1}_x', str(block - 1), path, *layer]


def _sew_modules(model: Network, modules: Path, *, containers: bool) -> list[str] | None:
    """Returns the modules' names; ``containers`` puts a convolution and its norm in a sequence.

    The stem has no such sequence.
    """
    match modules:
        case ('classifier',):
            return ['fc']
        case ('stem', layer):
            return ['conv1' if layer == 'conv' else 'bn1']
        case (_, _, convolution, layer):
            stage, block = _place(modules)
            place = [f'layer{stage}', str(block - 1)]
            number = '0' if layer == 'conv' else '1'
            if convolution == 'shortcut':
                return [*place, 'downsample', *(['0'] if containers else []), number]
            if containers:
                return [*place, convolution, number]
            return [*place, convolution if layer == 'conv' else convolution.replace('conv', 'bn')]
    return None


def _torchvision_modules(model: Network, modules: Path) -> list[str] | None:
    if isinstance(model, VGG):
        return vgg_modules(model, modules)
    if isinstance(model, EfficientNet):
        return efficientnet_modules(model, modules)
    return _sew_modules(model, modules, containers=False)


_MODULES: dict[Scheme, Callable[[Any, Path], list[str] | None]] = {
    'snnjax': _our_modules,
    'authors': _authors_modules,
    'sew_authors': functools.partial(_sew_modules, containers=True),
    'spikingjelly': functools.partial(_sew_modules, containers=False),
    'torchvision': _torchvision_modules,
}


def _place(modules: Path) -> tuple[int, int]:
    """Returns the numbers of a stage and a block: ('stage2', 'block1', ...) gives (2, 1)."""
    return int(modules[0].removeprefix('stage')), int(modules[1].removeprefix('block'))
