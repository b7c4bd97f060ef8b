"""Recordings of event cameras: the bytes of a file -> events.

Every reader checks what it reads. What is broken, or of another camera, is an `EventFileError`; no
reader makes more of a file than a small multiple of its size.

Orientation: ``x`` counts columns from the left, ``y`` rows from the top, as in an image. Files of
the DVS128 count rows from below, as the camera's software jAER does, and are turned over here.
(jAER mirrors columns as well when it shows them; `x` is what the file has.)
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Iterator

import numpy as np

from snnjax.errors import UserError


class EventFileError(UserError, ValueError):
    """A recording that is broken, or not of the format that its reader knows."""


@dataclasses.dataclass(frozen=True)
class Events:
    """The events of a recording, in the order of the file.

    Attributes:
      x: (N,) uint16, column, from the left.
      y: (N,) uint16, row, from the top.
      on: (N,) bool, whether it became brighter.
      t: (N,) int64, microseconds.
      height: rows of the camera.
      width: columns of the camera.

    Raises:
      EventFileError: for an event outside of the camera.
    """

    x: np.ndarray
    y: np.ndarray
    on: np.ndarray
    t: np.ndarray
    height: int
    width: int

    def __post_init__(self) -> None:
        if len(self) and (self.x.max() >= self.width or self.y.max() >= self.height):
            raise EventFileError(
                f'an event at column {self.x.max()}, row {self.y.max()} is outside of a camera of '
                f'{self.width} columns and {self.height} rows'
            )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, which: slice | np.ndarray) -> Events:
        """The events of a slice, of numbers or of a mask."""
        x, y, on, t = self.x[which], self.y[which], self.on[which], self.t[which]
        return Events(x, y, on, t, self.height, self.width)

    def between(self, start: int, stop: int) -> Events:
        """The events with ``start <= t < stop``, microseconds."""
        return self[(self.t >= start) & (self.t < stop)]


_SPECIAL = 1 << 31 | 1 << 15
_DVS128 = 0x7FFF


def read_aedat2(content: bytes) -> Events:
    """AEDAT 2.0 of a DVS128, the format of CIFAR10-DVS.

    After header lines, which begin with '#', a big-endian address and time of 32 bits each, the
    time in microseconds. Bits 1 to 7 of an address are the column, 8 to 14 the row from below, and
    bit 0 is 0 for an ON event. Special events, bit 15 or 31, are left out. A time that overflows
    goes on counting.

    Raises:
      EventFileError: for another format or version, another camera, or a file that ends early.
    """
    start, header = _read_header(content)
    if not header.startswith('#!AER-DAT2'):
        raise EventFileError(_another_format(content, 'AEDAT 2.0'))
    chip = re.search(r'AEChip:\s*(\S+)', header)
    if chip and 'DVS128' not in chip[1] and 'Tmpdiff128' not in chip[1]:
        raise EventFileError(f'this is a recording of {chip[1]}, not of a DVS128')
    if (len(content) - start) % 8:
        raise EventFileError('the recording ends within an event: it is truncated')
    raw = np.frombuffer(content, '>u4', offset=start).reshape(-1, 2).astype(np.uint32)
    address, time = raw[:, 0], raw[:, 1]
    t = np.zeros(len(time), np.int64)
    if len(time):
        t[0] = time[0]
        # Differences wrap around with the counter.
        t[1:] = int(time[0]) + np.cumsum(np.diff(time).view(np.int32), dtype=np.int64)
    kept = (address & _SPECIAL) == 0
    address, t = address[kept], t[kept]
    others = np.flatnonzero(address & ~np.uint32(_DVS128))
    if len(others):
        raise EventFileError(
            f'address {address[others[0]]:#010x} of event {others[0]} is none of a DVS128: this is '
            f'a recording of another camera'
        )
    return Events(
        x=(address >> 1 & 127).astype(np.uint16),
        y=(127 - (address >> 8 & 127)).astype(np.uint16),
        on=(address & 1) == 0,
        t=t,
        height=128,
        width=128,
    )


def read_nmnist(content: bytes) -> Events:
    """N-MNIST (Orchard et al. 2015): events of 40 bits, from a camera of 34x34 pixels.

    Column, row, then the polarity (1 for ON) in the highest bit and the time in microseconds in 23.
    Row 240 is no event: it says that 2^13 microseconds are to be added to all later times.

    Raises:
      EventFileError: where there is no whole number of events, or one outside of the camera.
    """
    if len(content) % 5:
        raise EventFileError(
            f'{len(content)} bytes are no whole number of events of 5 bytes: the recording is '
            f'truncated, or none of N-MNIST'
        )
    raw = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.int64)
    overflow = raw[:, 1] == 240
    t = ((raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4]) + (np.cumsum(overflow) << 13)
    raw, t = raw[~overflow], t[~overflow]
    return Events(
        x=raw[:, 0].astype(np.uint16),
        y=raw[:, 1].astype(np.uint16),
        on=raw[:, 2] >= 128,
        t=t,
        height=34,
        width=34,
    )


_PACKET_HEADER = np.dtype(
    [
        ('type', '<u2'),
        ('source', '<u2'),
        ('size', '<u4'),
        ('time_offset', '<u4'),
        ('overflow', '<u4'),
        ('capacity', '<u4'),
        ('number', '<u4'),
        ('valid', '<u4'),
    ]
)
_POLARITY_EVENTS = 1


def read_aedat3(content: bytes) -> Events:
    """AEDAT 3.1 of a DVS128, the format of DVS128 Gesture: its polarity events.

    Packets of a header of 28 bytes and events of one kind. A polarity event is 32 bits, of which 0
    says that it is valid, 1 that it is ON, 2 to 16 are the row from the top and 17 to 31 the
    column; then the time, in microseconds of 31 bits, whose overflow is in the header.

    Raises:
      EventFileError: for another format or version, or a file that ends early.
    """
    start, header = _read_header(content)
    if not header.startswith('#!AER-DAT3.1'):
        raise EventFileError(_another_format(content, 'AEDAT 3.1'))
    if '#!END-HEADER' not in header:
        raise EventFileError('the header has no end: the recording is truncated')
    packets = [packet for packet in _polarity_packets(content, start) if len(packet[0])]
    data = np.concatenate([data for data, _ in packets] or [np.zeros(0, np.uint32)])
    t = np.concatenate([t for _, t in packets] or [np.zeros(0, np.int64)])
    valid = (data & 1) == 1
    data, t = data[valid], t[valid]
    return Events(
        x=(data >> 17 & 0x7FFF).astype(np.uint16),
        y=(data >> 2 & 0x7FFF).astype(np.uint16),
        on=(data >> 1 & 1) == 1,
        t=t,
        height=128,
        width=128,
    )


def _polarity_packets(content: bytes, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Words and times of the events of each packet."""
    while start < len(content):
        if start + _PACKET_HEADER.itemsize > len(content):
            raise EventFileError('the recording ends within the header of a packet')
        packet = np.frombuffer(content, _PACKET_HEADER, 1, start)[0]
        start += _PACKET_HEADER.itemsize
        size, number = int(packet['size']), int(packet['number'])
        if start + size * number > len(content):
            raise EventFileError('the recording ends within a packet: it is truncated')
        if packet['type'] == _POLARITY_EVENTS:
            if size != 8:
                raise EventFileError(f'a packet has polarity events of {size} bytes, not 8')
            raw = np.frombuffer(content, '<u4', 2 * number, start).reshape(-1, 2)
            overflow = int(packet['overflow']) << 31
            yield raw[:, 0].astype(np.uint32), raw[:, 1].astype(np.int64) + overflow
        start += size * number


def read_gesture_labels(content: bytes) -> list[tuple[int, int, int]]:
    """The CSV beside a recording of DVS128 Gesture: class (from 0), start and end in microseconds.

    Raises:
      EventFileError: for a line that is not class 1 to 11, start and a later end.
    """
    trials = []
    try:
        for row in csv.DictReader(io.StringIO(content.decode()), skipinitialspace=True):
            label = int(row['class']) - 1
            start, stop = int(row['startTime_usec']), int(row['endTime_usec'])
            if not (0 <= label < 11 and 0 <= start < stop):
                raise ValueError(f'{row}')
            trials.append((label, start, stop))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise EventFileError(f'the labels cannot be read: {error!r}') from error
    return trials


# Cameras with many settings have them all in the header, half a megabyte.
_MAX_HEADER_BYTES = 2**22


def _read_header(content: bytes) -> tuple[int, str]:
    """Where the header ends, and its text."""
    start = 0
    while content[start : start + 1] == b'#':
        end = content.find(b'\n', start)
        if end < 0:
            raise EventFileError('the header has no end: the recording is truncated')
        line, start = content[start:end], end + 1
        if start > _MAX_HEADER_BYTES:
            raise EventFileError(f'the header has more than {_MAX_HEADER_BYTES:,} bytes')
        if line.startswith(b'#!END-HEADER'):
            break
    return start, content[:start].decode('latin-1')


_FORMATS = (
    (b'#!AER-DAT2', 'AEDAT 2.0'),
    (b'#!AER-DAT3', 'AEDAT 3'),
    (b'#!AER-DAT4', 'AEDAT 4'),
    (b'% evt 3', 'Prophesee EVT3'),
    (b'% Data file', 'Prophesee DAT'),
    (b'MATLAB', 'a MATLAB file'),
)


def _another_format(content: bytes, expected: str) -> str:
    head = content[:2048]
    name = next((name for mark, name in _FORMATS if head.startswith(mark)), None) or next(
        (name for mark, name in _FORMATS if mark in head), None
    )
    return f'this is {name or "no format known here"}, not {expected}'
