"""Synthetic recordings of an event camera: moving images, written in the formats of real cameras.

A pixel fires when the logarithm of its brightness has changed by a threshold since its last event.
The images are smooth noise with a direction that depends on the class; they move in closed loops as
in CIFAR10-DVS. This gives any number of recordings of real size, with learnable labels, in the
layouts that `snnjax.tools.prepare` reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snnjax.data.sources.event_files import Events

SIDE = 128
_MARGIN = 8
_STEP = 10_000
"""Microseconds between two renderings; events have random times in between."""
CLASSES = 'airplane automobile bird cat deer dog frog horse ship truck'.split()
GESTURES = 11


@dataclasses.dataclass(frozen=True)
class Scene:
    """The content of a recording.

    Attributes:
      label: the class of the image.
      classes: the number of classes.
      seed: the seed of the image and its movement.
      seconds: the length of the recording in seconds.
      threshold: the change in log brightness that causes an event.
    """

    label: int
    classes: int
    seed: int
    seconds: float = 1.3
    threshold: float = 0.35

    def image(self) -> np.ndarray:
        """Returns brightness, (128 + margins)^2 float32 above 0: noise smoothed in a direction."""
        side = SIDE + 2 * _MARGIN
        rng = np.random.default_rng((self.seed, self.label))
        angle = np.pi * self.label / self.classes
        fy, fx = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing='ij')
        along = fx * np.cos(angle) + fy * np.sin(angle)
        across = fy * np.cos(angle) - fx * np.sin(angle)
        passed = np.exp(-((along / 0.08) ** 2) - (across / 0.02) ** 2)
        noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * passed, (side, side))
        return np.exp(noise / noise.std() * 0.5).astype(np.float32)

    def views(self) -> Iterator[np.ndarray]:
        """Yields the logarithm of the camera's view, (128, 128), at each step."""
        image = np.log(self.image())
        rng = np.random.default_rng((self.seed, self.label, 1))
        phase, period = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.3, 0.5, 2)
        for step in range(1 + round(self.seconds * 1e6 / _STEP)):
            turn = 2 * np.pi * step * _STEP / 1e6 / period + phase
            (top, down), (left, right) = (divmod(_MARGIN / 2 * (1 + np.sin(a)), 1) for a in turn)
            corner = image[int(top) :, int(left) :]
            upper = _between(corner[:SIDE], right)
            yield upper + np.float32(down) * (_between(corner[1 : SIDE + 1], right) - upper)


def _between(rows: np.ndarray, share: float) -> np.ndarray:
    return rows[:, :SIDE] + np.float32(share) * (rows[:, 1 : SIDE + 1] - rows[:, :SIDE])


def render(scene: Scene) -> Events:
    """Renders a scene as the events of a DVS128, ordered by time."""
    rng = np.random.default_rng((scene.seed, scene.label, 2))
    views = scene.views()
    reference = next(views).ravel()
    pixels, polarities, times = [], [], []
    for step, view in enumerate(views):
        change = (view.ravel() - reference) / np.float32(scene.threshold)
        number = np.trunc(change).astype(np.int32)
        fired = np.flatnonzero(number)
        reference[fired] += number[fired] * np.float32(scene.threshold)
        repeats = np.abs(number[fired])
        pixel = np.repeat(fired, repeats)
        t = np.sort(rng.integers(0, _STEP, len(pixel)))
        # Times are random within a step, and in the same order as the events.
        order = rng.permutation(len(pixel))
        pixels.append(pixel[order])
        polarities.append(np.repeat(number[fired] > 0, repeats)[order])
        times.append(step * _STEP + t)
    y, x = np.divmod(np.concatenate(pixels), SIDE)
    return Events(
        x.astype(np.uint16),
        y.astype(np.uint16),
        np.concatenate(polarities),
        np.concatenate(times).astype(np.int64),
        SIDE,
        SIDE,
    )


def to_aedat2(events: Events) -> bytes:
    """Returns the bytes of a file in AEDAT 2.0, the format of CIFAR10-DVS."""
    y, x = SIDE - 1 - events.y.astype('>u4'), events.x.astype('>u4')
    words = np.stack([y << 8 | x << 1 | ~events.on, events.t.astype('>u4')], axis=1)
    return b'#!AER-DAT2.0\r\n# This is a raw AE data file\r\n' + words.astype('>u4').tobytes()


def to_aedat3(events: Events, packet: int = 8192) -> bytes:
    """Returns the bytes of a file in AEDAT 3.1, the format of DVS128 Gesture.

    Args:
      events: the events, with times below 2^31 microseconds.
      packet: the number of events in a packet.
    """
    x, y, on = (column.astype('<u4') for column in (events.x, events.y, events.on))
    words = np.stack([x << 17 | y << 2 | on << 1 | 1, events.t.astype('<u4')], axis=1)
    parts = [b'#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n']
    for start in range(0, len(words), packet):
        part = words[start : start + packet].astype('<u4')
        sizes = np.array([8, 4, 0, len(part), len(part), len(part)], '<u4')
        parts += [np.array([1, 1], '<u2').tobytes(), sizes.tobytes(), part.tobytes()]
    return b''.join(parts)


def write_cifar10_dvs(folder: Path, each: int, seconds: float = 1.3) -> int:
    """Writes recordings in the layout of CIFAR10-DVS, and returns the number of events.

    Args:
      folder: the folder for the folders of the classes.
      each: the number of recordings of each class; the data set has 1,000.
      seconds: the length of a recording in seconds.
    """
    total = 0
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            events = render(Scene(label, len(CLASSES), number, seconds))
            path = folder / name / f'cifar10_{name}_{number}.aedat'
            path.write_bytes(to_aedat2(events))
            total += len(events)
    return total


def write_dvs_gesture(folder: Path, users: int, seconds: float = 100.0) -> int:
    """Writes recordings in the layout of DVS128 Gesture, and returns the number of events.

    Args:
      folder: the folder for the files.
      users: the number of recordings, the last one for testing; the data set has 122.
      seconds: the length of a recording in seconds; each of the 11 gestures has an equal part.
    """
    folder = folder / 'DvsGesture'
    folder.mkdir(parents=True, exist_ok=True)
    total, names = 0, []
    length = int(seconds * 1e6) // GESTURES
    for user in range(users):
        name = f'user{user + 1:02}_led'
        parts = [render(Scene(g, GESTURES, user, length / 1e6)) for g in range(GESTURES)]
        columns = {
            key: np.concatenate([getattr(part, key) for part in parts]) for key in ('x', 'y', 'on')
        }
        t = np.concatenate([part.t + length * g for g, part in enumerate(parts)])
        (folder / f'{name}.aedat').write_bytes(
            to_aedat3(Events(**columns, t=t, height=SIDE, width=SIDE))
        )
        lines = [f'{g + 1},{length * g},{length * (g + 1)}\n' for g in range(GESTURES)]
        text = 'class,startTime_usec,endTime_usec\n' + ''.join(lines)
        (folder / f'{name}_labels.csv').write_text(text)
        names.append(f'{name}.aedat\n')
        total += len(t)
    (folder / 'trials_to_train.txt').write_text(''.join(names[:-1]))
    (folder / 'trials_to_test.txt').write_text(names[-1])
    return total
