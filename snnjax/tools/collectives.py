"""Counts of the collectives in the text of a compiled program."""

from __future__ import annotations

import math
import re

_COLLECTIVE = re.compile(
    r'= (?P<type>.*?) (?P<name>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)'
    r'(?:-start)?\('
)
_BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4, 'f32': 4, 'f64': 8}


def count_collectives(program: str) -> dict[str, tuple[int, int]]:
    """Counts the collectives of a compiled program and the bytes of their results.

    A reduction that leaves each device a part of the result is a reduce-scatter, and its bytes are
    those before the reduction.

    Args:
      program: the text of the compiled program.

    Returns:
      The number of collectives and their bytes, by name.
    """
    counts: dict[str, tuple[int, int]] = {}
    channels = set()
    computation = ''
    for line in program.splitlines():
        if line.endswith('{'):
            computation = line
        match = _COLLECTIVE.search(line)
        if not match:
            continue
        # An asynchronous collective appears as several instructions with the same channel.
        channel = re.search(r'channel_id=\d+', line)
        if channel:
            if (match['name'], channel[0]) in channels:
                continue
            channels.add((match['name'], channel[0]))
        size = 0
        for dtype, sides in re.findall(r'(\w+)\[([\d,]*)\]', match['type']):
            elements = math.prod(int(side) for side in sides.split(',') if side)
            size += elements * _BYTES.get(dtype, 4)
        # TPU programs fuse an all-reduce and the slicing of its result.
        scatters = computation.startswith('%all-reduce-scatter')
        name = 'reduce-scatter' if scatters else match['name']
        number, total = counts.get(name, (0, 0))
        counts[name] = number + 1, total + size
    return counts
