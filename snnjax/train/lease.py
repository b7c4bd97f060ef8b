"""A lease on a work directory in a bucket, where file locks do not exist.

The lease is one object, ``lease.json``. It is written only if the object is still the one that was
read, so of two commands that start at once, one is refused. A thread renews it while the command
runs. After a kill, the next command on the same machine sees that the process is gone; on another
machine it waits until the lease has not been renewed for its duration. No clocks are compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from snnjax.buckets import BucketPath
from snnjax.errors import UserError
from snnjax.train.progress import warn
from snnjax.train.signals import StoppedError

LEASE_FILE = 'lease.json'

SECONDS = 60.0
"""The time after its last renewal that a lease expires, in seconds."""

_RENEWALS = 4  # In that time.


class LeaseError(UserError, OSError):
    """A lease that cannot be taken; the message says why."""


@contextlib.contextmanager
def lease(
    workdir: Path, stopping: Callable[[], bool] = lambda: False, seconds: float = SECONDS
) -> Iterator[None]:
    """Keeps a work directory in a bucket to this process while the context lasts.

    Args:
      workdir: the path of the work directory.
      stopping: a function that returns true if waiting for another lease is to end.
      seconds: the time until the lease expires if it is not renewed.

    Raises:
      LeaseError: if another command has the lease, or the bucket cannot be written to.
      StoppedError: if waiting was stopped.
    """
    holder = _Lease(workdir, seconds)
    holder.take(stopping)
    done = threading.Event()
    thread = threading.Thread(target=holder.keep, args=(done,), daemon=True)
    thread.start()
    _HELD[str(workdir)] = holder
    try:
        yield
    finally:
        del _HELD[str(workdir)]
        done.set()
        thread.join()
        holder.give_back()


_HELD: dict[str, _Lease] = {}


def may_write(workdir: Path) -> bool:
    """Returns whether this process may write to a work directory in a bucket.

    It may not if it had the lease and could not renew it in time, even if nobody has taken it. In
    processes that never had it, which leave writing to the first, the answer is true.
    """
    holder = _HELD.get(str(workdir))
    return holder is None or holder.is_held()


class _Lease:
    """The object, and what this process knows of it.

    Args:
      workdir: the path of the work directory.
      seconds: the time until the lease expires if it is not renewed.
    """

    def __init__(self, workdir: Path, seconds: float) -> None:
        self._workdir = workdir
        self._file = cast(BucketPath, workdir / LEASE_FILE)
        self._seconds = seconds
        self._id = uuid.uuid4().hex
        self._lock = threading.Lock()
        # None: this process does not have the lease, or has lost it.
        self._generation: bytes | None = None
        self._renewed = 0.0

    def take(self, stopping: Callable[[], bool]) -> None:
        """Takes the lease once nobody else has it; see `lease`."""
        first: bytes | None = None
        since = 0.0
        while True:
            content, generation = self._request(self._file.read_if_there)
            found = _parse(content)
            duration = float(found.get('seconds', 0))
            unchanged = generation == first and time.monotonic() - since >= duration
            if content is None or duration == 0 or _is_dead(found) or unchanged:
                if self._write(generation):
                    return
                first = None
                continue
            if first is None:
                warn(
                    f'{self._workdir} may be in use by {found.get("owner")}: '
                    f'waiting {duration:.0f} s for a sign of it'
                )
                first, since = generation, time.monotonic()
            elif generation != first:
                raise LeaseError(
                    f'--workdir={self._workdir} is in use by {found.get("owner")}: wait for it, '
                    'stop it, or give another --workdir'
                )
            if stopping():
                raise StoppedError
            time.sleep(min(1.0, duration / 4))

    def keep(self, done: threading.Event) -> None:
        """Renews the lease until ``done`` is set or another command has the lease."""
        while not done.wait(self._seconds / _RENEWALS):
            try:
                with self._lock:
                    if self._generation is None or not self._write(self._generation):
                        break
            except LeaseError as error:
                warn(f'warning: {error}; training continues')
        else:
            return
        warn(f'warning: another command took over {self._workdir}: this one stops when it saves')

    def is_held(self) -> bool:
        """Returns whether the lease is sure to be this process's for a while; may renew it."""
        with self._lock:
            if self._generation is None:
                return False
            if time.monotonic() - self._renewed < self._seconds / 2:
                return True
            with contextlib.suppress(LeaseError):
                return self._write(self._generation)
            return time.monotonic() - self._renewed < self._seconds

    def give_back(self) -> None:
        """Removes the object if this process still has the lease."""
        if self._generation is not None:
            with contextlib.suppress(OSError):
                self._file.write_if(None, self._generation)
            self._generation = None

    def _write(self, generation: bytes) -> bool:
        """Writes the lease if the object has a generation; returns whether it was written."""
        content = {
            'owner': f'process {os.getpid()} on {socket.gethostname()}',
            'seconds': self._seconds,
            'process': _this_process(),
            'lease': self._id,
            # Two commands never write the same.
            'token': uuid.uuid4().hex,
        }
        now = time.monotonic()
        data = json.dumps(content).encode()
        written = self._request(lambda: self._file.write_if(data, generation))
        if written is None:
            # An earlier write of this lease may have reached the bucket although it seemed to fail.
            found, current = self._request(self._file.read_if_there)
            if _parse(found).get('lease') == self._id:
                written = self._request(lambda: self._file.write_if(data, current))
        self._generation = written
        self._renewed = now
        return self._generation is not None

    def _request(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except OSError as error:
            raise LeaseError(
                f'--workdir={self._workdir} cannot be written to: {error.strerror}'
            ) from error


def _parse(data: bytes | None) -> dict[str, Any]:
    """Returns the content of a lease; a damaged one has expired."""
    try:
        content = json.loads(data or b'')
        return content if float(content['seconds']) > 0 else {}
    except (ValueError, TypeError, KeyError):
        return {}


def _is_dead(content: Mapping[str, Any]) -> bool:
    """Returns whether the process that wrote a lease is known to have ended."""
    match content.get('process'):
        case [boot, space, int(number)] if [boot, space] == _this_process()[:2] and number > 0:
            try:
                os.kill(number, 0)
            except ProcessLookupError:
                return True
            except OSError:
                return False
    return False


def _this_process() -> list[Any]:
    """Returns the boot ID of the machine, the PID namespace, and the process ID."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return [boot, str(Path('/proc/self/ns/pid').readlink()), os.getpid()]
    except OSError:
        return [uuid.uuid4().hex, '', os.getpid()]
