"""Photos with oddities that are met in practice, made from a plain one byte by byte."""

import io
import itertools
import struct

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 60, 80


def scene(seed=0):
    """Returns smooth colors with a little noise, uint8 of shape (60, 80, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / 20
    waves = [np.sin(a * rows + b * columns + c) for a, b, c in rng.uniform(-2, 2, (3, 3))]
    pixels = 128 + 90 * np.stack(waves, -1) + rng.normal(0, 3, (HEIGHT, WIDTH, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def encoded(pixels, kind, **options):
    """Returns the bytes of an image file, written by Pillow."""
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def segments(jpeg):
    """Returns the segments of a JPEG file before its scan, and the scan with all that follows.

    Returns:
      A list of (marker, content), and bytes.
    """
    found, place = [], 2
    while jpeg[place + 1] != 0xDA:
        length = int.from_bytes(jpeg[place + 2 : place + 4], 'big')
        found.append((jpeg[place + 1], jpeg[place + 4 : place + 2 + length]))
        place += 2 + length
    return found, jpeg[place:]


def jpeg_of(parts, scan):
    """Returns a JPEG file of the parts that `segments` returns; parts of bytes are taken as is."""
    content = b'\xff\xd8'
    for part in parts:
        if isinstance(part, tuple):
            marker, data = part
            part = bytes([0xFF, marker]) + struct.pack('>H', len(data) + 2) + data
        content += part
    return content + scan


def exif_segment(orientation, *, damage=None):
    """Returns a segment APP1 with one entry, little-endian.

    Args:
      orientation: value of the entry.
      damage: 'offset' for an entry whose value is outside of the data, 'type' for an entry of a
        type that is none, 'short' for data that end within the entry.
    """
    entry = struct.pack('<HHIHH', 0x0112, 3, 1, orientation, 0)
    if damage == 'offset':
        entry = struct.pack('<HHII', 0x011A, 5, 1, 0xFFFFFF)  # A resolution.
    if damage == 'type':
        entry = struct.pack('<HHII', 0x0112, 99, 2**31, 7)
    data = b'Exif\0\0' + b'II*\0' + struct.pack('<IH', 8, 1) + entry + struct.pack('<I', 0)
    return 0xE1, data[:-10] if damage == 'short' else data


def wide_tables(content):
    """Returns the content of a segment DQT with 16 bits a value instead of 8."""
    tables = [content[start : start + 65] for start in range(0, len(content), 65)]
    return b''.join(bytes([0x10 | table[0]]) + struct.pack('>64H', *table[1:]) for table in tables)


def odd_jpegs():
    """Returns JPEG files that have to come out as the plain one does, and the plain one."""
    plain = encoded(scene(), 'JPEG', quality=90)
    parts, scan = segments(plain)
    first, rest = parts[:1], parts[1:]
    frame = next(i for i, (marker, _) in enumerate(parts) if 0xC0 <= marker <= 0xC2)
    icc = (0xE2, b'ICC_PROFILE\0\1\1' + bytes(40))
    multi_picture = (0xE2, b'MPF\0MM\0*' + b'\xff' * 30)
    wide = [(m, wide_tables(data) if m == 0xDB else data) for m, data in parts]
    return plain, {
        'resolution outside of the EXIF data': jpeg_of(
            [*first, exif_segment(1, damage='offset'), *rest], scan
        ),
        'EXIF entry of no type': jpeg_of([*first, exif_segment(1, damage='type'), *rest], scan),
        'EXIF data cut short': jpeg_of([*first, exif_segment(1, damage='short'), *rest], scan),
        'EXIF data that are none': jpeg_of([*first, (0xE1, b'Exif\0\0rubbish'), *rest], scan),
        'quantization tables of 16 bits': jpeg_of(wide, scan),
        'profile after the frame header': jpeg_of(
            [*parts[: frame + 1], icc, *parts[frame + 1 :]], scan
        ),
        'bytes of filling before a marker': jpeg_of([*first, b'\xff\xff\xff', *rest], scan),
        'broken header of several pictures': jpeg_of([*first, multi_picture, *rest], scan),
        'rubbish after the end': plain + bytes(range(256)),
        'comment': jpeg_of([*first, (0xFE, b'\xff\xd8 not a picture'), *rest], scan),
    }


def turned_jpegs():
    """Returns JPEG files by their EXIF orientation, each of the plain one's pixels."""
    parts, scan = segments(encoded(scene(), 'JPEG', quality=90))
    return {
        number: jpeg_of([*parts[:1], exif_segment(number), *parts[1:]], scan)
        for number in range(1, 9)
    }


def png_with_data_after_its_end():
    """Returns a PNG file whose pixels go on behind the chunk that says that it ends."""
    plain = encoded(scene(), 'PNG')
    end = plain[-12:]
    assert end[4:8] == b'IEND'
    return plain + plain[plain.index(b'IDAT') - 4 : -12] + end


def plain_jpegs():
    """Returns JPEG files of every quality, subsampling and kind that cameras write."""
    qualities, samplings = (30, 75, 95), (0, 1, 2)
    color = [
        encoded(scene(i), 'JPEG', quality=quality, subsampling=sampling, progressive=progressive)
        for i, (quality, sampling, progressive) in enumerate(
            itertools.product(qualities, samplings, (False, True))
        )
    ]
    gray = [encoded(Image.fromarray(scene(i)).convert('L'), 'JPEG') for i in range(3)]
    return [*color, *gray, encoded(scene()[:17, :33], 'JPEG', restart_marker_rows=1)]
