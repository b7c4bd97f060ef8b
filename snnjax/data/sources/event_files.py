"""Readers of event-camera recordings, from the bytes of a file to events.

Every reader validates the file and raises `EventFileError` if it is damaged or of another camera.
The memory that a reader takes is at most a small multiple of the file's size.

Time: every reader removes jumps of the camera's clock, as `_continuous_time` describes.

Orientation: ``x`` counts columns from the left and ``y`` rows from the top, as in an image. Files
of the DVS128 count rows from the bottom, as the camera's software jAER does; the readers flip them.
(jAER also mirrors the columns when it displays them; the readers keep ``x`` as in the file.)
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
    """A recording that is damaged, or not in the format that its reader expects."""


MAX_SIDE = 2048
"""The largest side of a camera in pixels; its frames take 2 bytes per pixel and time step."""

MAX_DISORDER = 100_000
"""The time, in microseconds, by which an event may be older than one before it in the file."""


def is_side(size: object) -> bool:
    """Returns true if ``size`` is a valid number of rows or columns of a camera."""
    return type(size) is int and 1 <= size <= MAX_SIDE


@dataclasses.dataclass(frozen=True)
class Events:
    """The events of a recording, in the order of the file.

    Attributes:
      x: uint16 array of shape (N,), the columns, from the left.
      y: uint16 array of shape (N,), the rows, from the top.
      on: bool array of shape (N,), the polarities; true if the pixel became brighter.
      t: int64 array of shape (N,), the times in microseconds.
      height: the number of rows of the camera.
      width: the number of columns of the camera.

    Raises:
      EventFileError: if an event is outside of the camera, the arrays differ in length, or the
        polarities are not bool.
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
            raise EventFileError(f'x, y, on and t have shapes {lengths}: all must be (N,)')
        if self.on.dtype != bool:
            raise EventFileError(
                f'the polarities are {self.on.dtype}: they must be bool, true for ON'
            )
        if not len(self):
            return
        for place, size in ((self.x, self.width), (self.y, self.height)):
            if place.max() >= size or (place.dtype.kind != 'u' and place.min() < 0):
                outside = (self.x >= self.width) | (self.y >= self.height) | (self.x < 0)
                first = np.argmax(outside | (self.y < 0))
                raise EventFileError(
                    f'an event at column {self.x[first]}, row {self.y[first]} is outside of a '
                    f'camera of {self.width} columns and {self.height} rows; if the recording is '
                    f'of another camera, give its size (prepare events_folder --sensor_size)'
                )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, which: slice | np.ndarray) -> Events:
        """Returns the events of a slice, of indices or of a mask."""
        x, y, on, t = self.x[which], self.y[which], self.on[which], self.t[which]
        return Events(x, y, on, t, self.height, self.width)

    def moved(self, x: np.ndarray, y: np.ndarray, drop: np.ndarray | None = None) -> Events:
        """Returns the events at new positions, without those that leave the camera.

        Args:
          x: integer array of shape (N,), the new columns.
          y: integer array of shape (N,), the new rows.
          drop: bool array of shape (N,), true for further events to drop; None for none.
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
        """Returns the events with ``start <= t < stop``, in microseconds."""
        return self[(self.t >= start) & (self.t < stop)]


def _continuous_time(t: np.ndarray, period: int) -> np.ndarray:
    """Removes overflows and resets of the camera's clock from the times of a recording.

    After an overflow of the counter, time continues past its period. If the clock was set back, by
    an amount that no file records, time continues from the event before. Cameras write events from
    several buffers; events out of order by up to `MAX_DISORDER` keep their times.

    Args:
      t: int64 array of shape (N,), the times in the file, in microseconds.
      period: the time after which the counter overflows, in microseconds.

    Raises:
      EventFileError: if the times run backwards in small steps.
    """
    # Most recordings are sorted, and long ones then need no more memory.
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
    """Reads AEDAT 2.0 of a DVS128, the format of CIFAR10-DVS.

    The file has header lines, which begin with '#', and then a big-endian address and time of 32
    bits each per event; times are in microseconds. Bits 1 to 7 of an address are the column, bits 8
    to 14 the row from the bottom, and bit 0 is 0 for an ON event. Special events, with bit 15 or 31
    set, are skipped.

    Args:
      content: the bytes of the file.

    Raises:
      EventFileError: if the file has another format or version, is of another camera, or is
        truncated.
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
    address, t = raw[:, 0], _continuous_time(raw[:, 1].astype(np.int64), 2**32)
    kept = (address & _SPECIAL) == 0
    address, t = address[kept], t[kept]
    others = np.flatnonzero(address & ~np.uint32(_DVS128))
    if len(others):
        raise EventFileError(
            f'address {address[others[0]]:#010x} of event {others[0]} is not one of a DVS128: this '
            f'is a recording of another camera'
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
"""The largest rows and columns of a camera in the 40-bit format, which reserves row 240."""


def read_nmnist(content: bytes, *, height: int = 34, width: int = 34) -> Events:
    """Reads events of 40 bits, the format of N-MNIST and N-Caltech101 (Orchard et al. 2015).

    An event has a byte for the column, a byte for the row, one bit for the polarity (1 for ON), and
    23 bits for the time in microseconds. An entry with row 240 is not an event: it adds 2^13
    microseconds to all later times.

    Args:
      content: the bytes of the file, which do not include the size of the camera.
      height: the number of rows of the camera, up to 240: 34 for N-MNIST, 180 for N-Caltech101.
      width: the number of columns of the camera, up to 256: 34 for N-MNIST, 240 for N-Caltech101.

    Raises:
      EventFileError: if the size is not a multiple of 5 bytes, an event is outside of the camera,
        or the camera is too large for the format.
    """
    rows, columns = MAX_SIZE_40_BITS
    if not (is_side(height) and is_side(width) and height <= rows and width <= columns):
        raise EventFileError(
            f'a camera of {width} columns and {height} rows: 40 bits per event have room for 1 to '
            f'{columns} columns and 1 to {rows} rows'
        )
    if len(content) % 5:
        raise EventFileError(
            f'{len(content)} bytes are not a multiple of 5 bytes per event: the recording is '
            f'truncated, or does not have 40 bits per event'
        )
    raw = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.int64)
    overflow = raw[:, 1] == 240
    t = ((raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4]) + (np.cumsum(overflow) << 13)
    raw, t = raw[~overflow], _continuous_time(t[~overflow], 2**23)
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

    The file has packets, each with a header of 28 bytes and events of one kind. A polarity event
    has 32 bits of data (bit 0 for a valid event, bit 1 for an ON event, bits 2 to 16 for the row
    from the top, bits 17 to 31 for the column) and 32 bits for the time in microseconds. Times
    overflow after 31 bits; the header of a packet counts the overflows.

    Args:
      content: the bytes of the file.
      height: the number of rows of the camera, 128 for a DVS128.
      width: the number of columns of the camera, 128 for a DVS128.

    Raises:
      EventFileError: if the file has another format or version or is truncated, or an event is
        outside of the camera.
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
    t = _continuous_time(t, 2**31)
    return Events(
        x=(data >> 17 & 0x7FFF).astype(np.uint16),
        y=(data >> 2 & 0x7FFF).astype(np.uint16),
        on=(data >> 1 & 1) == 1,
        t=t,
        height=height,
        width=width,
    )


def _polarity_packets(content: bytes, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the data words and times of the polarity events of each packet."""
    while start < len(content):
        if start + _PACKET_HEADER.itemsize > len(content):
            raise EventFileError('the recording is truncated: it ends within a packet header')
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
    """Reads the CSV file of labels of a DVS128 Gesture recording.

    Args:
      content: the bytes of the file.

    Returns:
      A tuple for each gesture: class (0 to 10), start and end in microseconds.

    Raises:
      EventFileError: if a line is not a class from 1 to 11, a start and a later end.
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
        raise EventFileError(
            f'the labels cannot be read: {error!r}; expected a class from 1 to 11, a start and a '
            f'later end'
        ) from error
    return trials


# Cameras write all of their settings to the header, up to half a megabyte.
_MAX_HEADER_BYTES = 2**22


def _read_header(content: bytes) -> tuple[int, str]:
    """Returns the offset of the end of the header, and its text."""
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
    return f'this is {name or "an unknown format"}, not {expected}'
