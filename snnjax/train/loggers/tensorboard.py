"""The logger for TensorBoard."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from snnjax.paths import in_bucket
from snnjax.train.bucket_file import BucketFile


class TensorBoard:
    """A writer of events in ``tensorboard/``.

    Events are written at once. `tensorboardX.SummaryWriter` writes them in a thread with a short
    queue: if the thread ends, as on a full disk, the queue fills up and training waits forever.

    Args:
      workdir: the work directory of the run.
      start_step: the step at which this start begins; events of later steps are hidden.
    """

    def __init__(self, workdir: Path, start_step: int) -> None:
        folder = workdir / 'tensorboard'
        folder.mkdir(parents=True, exist_ok=True)
        name = f'events.out.tfevents.{time.time():.0f}.{socket.gethostname()}'
        path = folder / name
        # A file is written at once, an object in a bucket once a minute.
        self._file = BucketFile(path) if in_bucket(path) else path.open('ab', buffering=0)
        start = SessionLog(status=SessionLog.START)
        self._add(
            Event(file_version='brain.Event:2'), Event(step=start_step + 1, session_log=start)
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a scalar for each value."""
        self._add(*(Event(step=step, summary=scalar(name, v)) for name, v in values.items()))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, *events: Any) -> None:
        for event in events:
            event.wall_time = time.time()
        self._file.write(b''.join(_record(event.SerializeToString()) for event in events))


def _record(content: bytes) -> bytes:
    """Returns a TFRecord record: length, its checksum, the content, its checksum."""
    length = struct.pack('<Q', len(content))
    sums = [struct.pack('<I', masked_crc32c(part)) for part in (length, content)]
    return length + sums[0] + content + sums[1]
