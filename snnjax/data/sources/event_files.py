"""Recordings of event cameras: the bytes of a file -> events.

Every reader checks what it reads. What is broken, or of another camera, is an `EventFileError`; no
reader makes more of a file than a small multiple of its size.

Time: every reader gives a clock that only goes on, see `_going_on`.

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


MAX_SIDE = 2048
"""Rows or columns of the largest camera: frames of one take 2 bytes a pixel and time step."""

MAX_DISORDER = 100_000
"""Microseconds by which an event may be older than one before it in the file."""


def is_side(size: object) -> bool:
    """Tells if a number of rows or columns is that of a camera."""
    return type(size) is int and 1 <= size <= MAX_SIDE


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
      EventFileError: for an event outside of the camera, columns of different lengths, or
        polarities that are not true and false.
    """

    x: np.ndarray
    y: np.ndarray
    on: np.ndarray
    t: np.ndarray
    height: int
    width: int

    def __post_init__(self) -> None:
        lengths = [column.shape for column in (self.x, self.y, self.on, self.t)]
        if len(set(lengths)) != 1 or len(lengths[0]) != 1:
            raise EventFileError(f'columns of shapes {lengths}: all must be (N,)')
        if self.on.dtype != bool:
            raise EventFileError(f'polarities of {self.on.dtype}: they must be bool, true for ON')
        if not len(self):
            return
        for place, size in ((self.x, self.width), (self.y, self.height)):
            if place.max() >= size or (place.dtype.kind != 'u' and place.min() < 0):
                outside = (self.x >= self.width) | (self.y >= self.height) | (self.x < 0)
                first = np.argmax(outside | (self.y < 0))
                raise EventFileError(
                    f'an event at column {self.x[first]}, row {self.y[first]} is outside of a '
                    f'camera of {self.width} columns and {self.height} rows; if it is of another '
                    f'camera, give its size (prepare events_folder --sensor_size)'
                )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, which: slice | np.ndarray) -> Events:
        """The events of a slice, of numbers or of a mask."""
        x, y, on, t = self.x[which], self.y[which], self.on[which], self.t[which]
        return Events(x, y, on, t, self.height, self.width)

    def moved(self, x: np.ndarray, y: np.ndarray, drop: np.ndarray | None = None) -> Events:
        """Returns the events at other places, without those that leave the camera.

        Args:
          x: new columns, (N,) of integers.
          y: new rows, likewise.
          drop: (N,) bool, True for events that are left out, too; None for no others.
        """
        kept = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        if drop is not None:
            kept &= ~drop
        return Events(
            x[kept].astype(np.uint16),
            y[kept].astype(np.uint16),
            self.on[kept],
            self.t[kept],
            self.height,
            self.width,
        )

    def between(self, start: int, stop: int) -> Events:
        """The events with ``start <= t < stop``, microseconds."""
        return self[(self.t >= start) & (self.t < stop)]


def _going_on(t: np.ndarray, period: int) -> np.ndarray:
    """Makes the times of a recording those of a clock that only goes on.

    Where the counter overflows it counts on. Where the clock was set back, which nothing in a file
    tells the length of, time goes on from the event before. Events up to `MAX_DISORDER` out of
    order, as cameras write them from several buffers, keep their times.

    Args:
      t: (N,) int64, microseconds as the file has them.
      period: microseconds after which the counter begins anew.

    Raises:
      EventFileError: for times that run backwards step by step.
    """
    # Mostly so, and a long recording then needs no more memory.
    if np.all(t[1:] >= t[:-1]):
        return t
    steps = np.diff(t)
    steps[steps < -period // 2] += period
    steps[steps < -MAX_DISORDER] = 0
    t = np.concatenate([t[:1], t[0] + np.cumsum(steps)])
    late = np.maximum.accumulate(t) - t
    if late.max() > MAX_DISORDER:
        first = np.argmax(late > MAX_DISORDER)
        raise EventFileError(
            f'event {first} is {late[first]:,} us older than one before it, in many small steps: '
            f'the times run backwards; sort the events by time'
        )
    return t


_SPECIAL = 1 << 31 | 1 << 15
_DVS128 = 0x7FFF


def read_aedat2(content: bytes) -> Events:
    """AEDAT 2.0 of a DVS128, the format of CIFAR10-DVS.

    After header lines, which begin with '#', a big-endian address and time of 32 bits each, the
    time in microseconds. Bits 1 to 7 of an address are the column, 8 to 14 the row from below, and
    bit 0 is 0 for an ON event. Special events, bit 15 or 31, are left out.

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
    address, t = raw[:, 0], _going_on(raw[:, 1].astype(np.int64), 2**32)
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


MAX_SIZE_40_BITS = (240, 256)
"""Rows and columns that 40 bits an event have room for: row 240 means something else."""


def read_nmnist(content: bytes, *, height: int = 34, width: int = 34) -> Events:
    """Reads events of 40 bits, the format of N-MNIST and N-Caltech101 (Orchard et al. 2015).

    Column, row, then the polarity (1 for ON) in the highest bit and the time in microseconds in 23.
    Row 240 is no event: it says that 2^13 microseconds are to be added to all later times.

    Args:
      content: the bytes of the file, which does not say what camera it is of.
      height: rows of the camera: 34 for N-MNIST, 180 for N-Caltech101; up to 240.
      width: columns of the camera: 34 for N-MNIST, 240 for N-Caltech101; up to 256.

    Raises:
      EventFileError: where there is no whole number of events, or one outside of the camera; for a
        camera that the format has no room for.
    """
    rows, columns = MAX_SIZE_40_BITS
    if not (is_side(height) and is_side(width) and height <= rows and width <= columns):
        raise EventFileError(
            f'a camera of {width} columns and {height} rows: 40 bits an event have room for 1 to '
            f'{columns} columns and 1 to {rows} rows'
        )
    if len(content) % 5:
        raise EventFileError(
            f'{len(content)} bytes are no whole number of events of 5 bytes: the recording is '
            f'truncated, or none of 40 bits an event'
        )
    raw = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.int64)
    overflow = raw[:, 1] == 240
    t = ((raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4]) + (np.cumsum(overflow) << 13)
    raw, t = raw[~overflow], _going_on(t[~overflow], 2**23)
    return Events(
        x=raw[:, 0].astype(np.uint16),
        y=raw[:, 1].astype(np.uint16),
        on=raw[:, 2] >= 128,
        t=t,
        height=height,
        width=width,
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


def read_aedat3(content: bytes, *, height: int = 128, width: int = 128) -> Events:
    """Reads the polarity events of AEDAT 3.1, the format of DVS128 Gesture.

    Packets of a header of 28 bytes and events of one kind. A polarity event is 32 bits, of which 0
    says that it is valid, 1 that it is ON, 2 to 16 are the row from the top and 17 to 31 the
    column; then the time, in microseconds of 31 bits, whose overflow is in the header.

    Args:
      content: the bytes of the file.
      height: rows of the camera: 128 for a DVS128.
      width: columns of the camera, likewise.

    Raises:
      EventFileError: for another format or version, a file that ends early, or an event outside of
        the camera.
    """
    start, header = _read_header(content)
    if not header.startswith('#!AER-DAT3.1'):
        raise EventFileError(_another_format(content, 'AEDAT 3.1'))
    if '#!END-HEADER' not in header:
        raise EventFileError('the header has no end: the recording is truncated')
    packets = [packet for packet in _polarity_packets(content, start) if len(packet[0])]
    data = np.concatenate([data for data, _ in packets] or [np.zeros(0, np.uint32)])
    t = np.concatenate([t for _, t in packets] or [np.zeros(0, np.int64)])
    del packets
    valid = (data & 1) == 1
    if not valid.all():
        data, t = data[valid], t[valid]
    t = _going_on(t, 2**31)
    return Events(
        x=(data >> 17 & 0x7FFF).astype(np.uint16),
        y=(data >> 2 & 0x7FFF).astype(np.uint16),
        on=(data >> 1 & 1) == 1,
        t=t,
        height=height,
        width=width,
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
