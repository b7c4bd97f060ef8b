"""Fixed colors, markers and line styles of networks and conversion methods in all figures."""

from __future__ import annotations

import collections
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

# These colors differ in gray scale and for color-blind readers (Okabe and Ito 2008).
BLUE, VERMILION, GREEN = '#0072B2', '#D55E00', '#009E73'
PURPLE, ORANGE, SKY_BLUE, BLACK = '#CC79A7', '#E69F00', '#56B4E9', '#000000'
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)
GRAY = '#777777'

# A color, a marker and a line style.
Style = tuple[str, str, str]

NETWORKS: dict[str, Style] = {
    'ms': (BLUE, 'o', '-'),
    'vanilla': (VERMILION, 's', '-'),
    'sew': (GREEN, 'D', '-'),
    'plain': (PURPLE, '^', '-'),
    'wo_lif': (ORANGE, 'v', '-'),
    'lif_before_add': (SKY_BLUE, 'p', ':'),
    'tdbn': (ORANGE, 's', '--'),
    'plif': (SKY_BLUE, 'P', '--'),
    'ta': (PURPLE, 'X', '--'),
    'ann': (BLACK, 'h', '-'),
    'converted': (VERMILION, 'X', '--'),
    'rollout': (SKY_BLUE, 'D', '-'),
    'dart': (GREEN, '*', '--'),
}
"""The style of each kind of network; colors repeat, but then the markers and lines differ."""

METHODS: dict[str, Style] = {
    'rueckauer': (BLUE, 'o', '-'),
    's_resnet': (VERMILION, 's', '-'),
    'rts': (GREEN, 'D', '-'),
    'calibration_light': (PURPLE, '^', '-'),
    'calibration': (ORANGE, 'v', '-'),
    'ltb': (SKY_BLUE, 'P', '-'),
    'qcfs': (GREEN, 'X', '--'),
    'few_spikes': (PURPLE, '*', '--'),
    'spike_norm': (BLUE, 'p', '--'),
    'rmp': (VERMILION, 'h', '--'),
}
"""The style of each conversion method; colors repeat, but then the markers and lines differ."""

# Networks of neurons that do not spike have one style.
_ANNS = ('ann', 'relu', 'vgg', 'sengupta', 'efficientnet', 'densenet')
_MARKERS = 'osD^vPX'
_LINES = ('-', '--', ':', '-.')


def network_styles(
    names: Iterable[str], models: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Returns the keyword arguments of ``Axes.plot`` for each network of a figure.

    A kind of network has the same style in all figures. If a figure has several networks of the
    same kind, they have the same color and marker, but other lines, and every second one is hollow.

    Args:
      names: the names of the networks in the figure.
      models: the names of their models, if known; the kind is then that of the model.
    """
    texts = {name: (models or {}).get(name, name) for name in names}
    return _styles({name: _find(_kind_of(text), NETWORKS, text) for name, text in texts.items()})


def method_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns the keyword arguments of ``Axes.plot`` for each conversion method of a figure.

    Args:
      names: the names of the methods in the figure; each begins with the name of a method.
    """
    keys = sorted(METHODS, key=len, reverse=True)
    return _styles(
        {name: _find(next(filter(name.startswith, keys), None), METHODS, name) for name in names}
    )


def network_color(name: str) -> str:
    """Returns the color of a network.

    Args:
      name: the name of the network or of its model.
    """
    return network_styles([name])[name]['color']


def _kind_of(text: str) -> str | None:
    """Returns the key of `NETWORKS` that a text names first; None if it names none."""
    text = text.lower()
    if 'converted' in text:
        return 'converted'
    words = '|'.join(sorted({*NETWORKS, *_ANNS}, key=len, reverse=True))
    match = re.search(rf'(?<![a-z])({words})(?![a-z])', text)
    if match is None:
        return None
    return 'ann' if match[1] in _ANNS else match[1]


def _find(key: str | None, table: Mapping[str, Style], name: str) -> Style:
    if key is not None:
        return table[key]
    # A name outside the table keeps its style in all figures, whatever its depth.
    number = zlib.crc32(re.sub(r'\d+', '', name).encode())
    return COLORS[number % len(COLORS)], _MARKERS[number // len(COLORS) % len(_MARKERS)], '-'


def _styles(chosen: Mapping[str, Style]) -> dict[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {}
    seen: collections.Counter[Style] = collections.Counter()
    for name, style in chosen.items():
        color, marker, line = style
        before = seen[style]
        seen[style] += 1
        styles[name] = {
            'color': color,
            'marker': marker,
            'linestyle': _LINES[(_LINES.index(line) + before) % len(_LINES)],
            'markerfacecolor': 'white' if before % 2 else color,
            'markersize': 5,
        }
    return styles
