"""Models by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from typing import Any

from snnjax.models.networks import ResNet
from snnjax.spelling import suggest

KINDS = {
    'ms_resnet': 'ms',
    'vanilla_resnet': 'vanilla',
    'plain_net': 'plain',
    'wo_lif_resnet': 'wo_lif',
    'lif_before_add_resnet': 'lif_before_add',
    'ann_resnet': 'ann',
}
"""Kinds of blocks by the families of names."""

CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56, 110, 482)
"""Depths of the paper's CIFAR-10 networks (table 2 and section 4.4)."""

IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 104: (3, 8, 32, 8)}
"""Blocks of each stage of the ImageNet networks, by depth (table 8)."""

_NAME = re.compile(r'(?P<family>[a-z_]+?)(?P<depth>\d+)(x(?P<widen>\d+))?(?P<dvs>_dvs)?')


def list_models(pattern: str = '*') -> list[str]:
    """Names of the paper's models that match a shell pattern, in order of family and depth.

    `create_model` knows more, see there.
    """
    names = [
        f'{family}{depth}{suffix}'
        for family in KINDS
        for depth, suffix in (
            [(depth, '') for depth in CIFAR_DEPTHS]
            + [(depth, '') for depth in IMAGENET_BLOCKS]
            + [(20, '_dvs')]
        )
    ]
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def create_model(name: str, **options: Any) -> ResNet:
    """Builds a model by name.

    ``create_model('ms_resnet20', num_classes=10, num_steps=4)`` is a Flax module; see
    `snnjax.models.ResNet` for its options and its call.

    A name is a family, a depth, and what else there is to say of its form:

    - depth 18, 34 or 104: for ImageNet (table 8), with 1000 classes; any depth 6n + 2: for CIFAR
      (table 1), with 10. The form of depth 104 has a stem of three convolutions, shortcuts that
      pool, and dropout.
    - ``x2``, ``x4``, ...: all widths times that number, as in ``ms_resnet20x4``.
    - ``_dvs``: for the frames of an event camera of 128x128 pixels (section 5.2): two channels, and
      strides 2 in the stem and the first stage, which leave that stage at 32x32.

    Args:
      name: as above; `list_models` has those of the paper.
      **options: attributes of the network, in the place of the form's own.

    Raises:
      ValueError: for a name that is not known, with the nearest ones; for an option that cannot be.
      TypeError: for an option that the model has not; likewise.
    """
    form = _form(name)
    known = [f.name for f in dataclasses.fields(ResNet) if f.name not in ('name', 'parent')]
    for option in options:
        if option not in known:
            raise TypeError(f'{name} has no option {option!r}; {suggest(option, known)}')
    # Configurations have lists where modules, which are hashed, need tuples.
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return ResNet(**form | options)


def family_and_depth(name: str) -> tuple[str, int]:
    """``'ms_resnet20x4'`` -> ``('ms_resnet', 20)``; ValueError for no name of a model."""
    match = _parse(name)
    return match['family'], int(match['depth'])


def _parse(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if not match or match['family'] not in KINDS:
        raise ValueError(f'unknown model {name!r}; {suggest(name, list_models())}')
    return match


def _form(name: str) -> dict[str, Any]:
    """Options of the network that a name stands for."""
    match = _parse(name)
    family, depth = match['family'], int(match['depth'])
    if depth in IMAGENET_BLOCKS and not match['dvs']:
        form = _imagenet_form(depth)
    elif depth < 8 or depth % 6 != 2:
        below = max(8, (depth - 2) // 6 * 6 + 2)
        raise ValueError(
            f'unknown model {name!r}: a CIFAR depth is 6n + 2, the nearest are '
            f'{family}{below} and {family}{below + 6}'
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
    return {'kind': KINDS[family]} | form


def _imagenet_form(depth: int) -> dict[str, Any]:
    form = {
        'num_classes': 1000,
        'stem': 'conv7',
        'stem_stride': 2,
        'blocks': IMAGENET_BLOCKS[depth],
        'widths': (64, 128, 256, 512),
        'strides': (2, 2, 2, 2),
        'zero_init_residual': True,
    }
    if depth == 104:
        form |= {'stem': 'conv3x3x3', 'avgpool_shortcut': True, 'dropout': 0.2}
    return form
