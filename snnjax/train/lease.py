"""A lease on a work directory in a bucket, where file locks do not exist.

The lease is one object, ``lease.json``, with its owner and the time it expires. It is
written only if the object is still the one that was read, so of two commands that start at once,
one is refused. A thread renews it while the command runs. After a kill, the next
command waits until the lease expires; on the same machine it sees that the process is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snnjax.buckets import in_words, open_store
from snnjax.errors import UserError
from snnjax.train.progress import warn

LEASE_FILE = 'lease.json'

SECONDS = 120.0
"""The time after its last renewal that a lease expires, in seconds."""

_RENEWALS = 4  # In that time; one of them may fail.


class LeaseError(UserError, OSError):
    """A lease that cannot be taken; the message says why."""


@contextlib.contextmanager
def lease(workdir: Path, seconds: float = SECONDS) -> Iterator[None]:
    """Keeps a work directory in a bucket to this process while the context lasts.

    Args:
      workdir: the path of the work directory.
      seconds: the time until the lease expires if it is not renewed.

    Raises:
      LeaseError: if another command has the lease, or the bucket cannot be written to.
    """
    holder = _Lease(workdir, seconds)
    holder.take()
    done = threading.Event()
    thread = threading.Thread(target=holder.keep, args=(done,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        holder.give_back()


def lease_token(workdir: Path) -> str | None:
    """Returns the token of the holder of the lease of a work directory; None without lease."""
    try:
        found = open_store(workdir).read(LEASE_FILE).result()
    except ValueError as error:
        raise LeaseError(f'{workdir} cannot be read: {in_words(workdir, error)}') from error
    return _parse(found.value).get('token') if found.state == 'value' else None


class _Lease:
    """The lease object, and the generation that this process wrote.

    Args:
      workdir: the path of the work directory.
      seconds: the time until the lease expires if it is not renewed.
    """

    def __init__(self, workdir: Path, seconds: float) -> None:
        self._workdir = workdir
        self._seconds = seconds
        self._store = open_store(workdir)
        self._token = uuid.uuid4().hex
        self._generation = b''

    def take(self) -> None:
        """Takes the lease; waits for the lease of a process that may be dead to expire."""
        first: Mapping[str, Any] | None = None
        while True:
            found, generation = self._read()
            wait = _seconds_left(found)
            if wait <= 0:
                if self._write(generation):
                    return
                continue
            if first is None:
                first = found
                warn(
                    f'{self._workdir} was in use by {found.get("owner")} until '
                    f'{self._seconds - wait:.0f} s ago: waiting up to {wait:.0f} s for its lease'
                    if wait < self._seconds
                    else f'{self._workdir} is in use by {found.get("owner")}: waiting'
                )
            elif found != first:
                raise LeaseError(
                    f'--workdir={self._workdir} is in use by {found.get("owner")}: wait for it, '
                    'stop it, or give another --workdir'
                )
            time.sleep(min(wait, 1.0))

    def keep(self, done: threading.Event) -> None:
        """Renews the lease until ``done`` is set, or another command has taken it."""
        while not done.wait(self._seconds / _RENEWALS):
            try:
                if not self._write(self._generation):
                    warn(
                        f'warning: another command took the lease of {self._workdir}, since this '
                        'one had not renewed it in time: this one stops at its next checkpoint'
                    )
                    return
            except LeaseError as error:
                warn(f'warning: {error}; training goes on')

    def give_back(self) -> None:
        """Removes the lease if this process still has it."""
        with contextlib.suppress(ValueError):
            self._store.write(LEASE_FILE, None, if_equal=self._generation).result()

    def _read(self) -> tuple[dict[str, Any], bytes]:
        try:
            found = self._store.read(LEASE_FILE).result()
        except ValueError as error:
            raise self._failed(error) from error
        value = _parse(found.value) if found.state == 'value' else {}
        return value, found.stamp.generation

    def _write(self, generation: bytes) -> bool:
        """Writes the lease if the object has a generation; returns whether this process has it."""
        content = {
            'owner': f'process {os.getpid()} on {socket.gethostname()}',
            'expires': time.time() + self._seconds,
            'token': self._token,
            'process': _this_process(),
        }
        try:
            data = json.dumps(content).encode()
            written = self._store.write(LEASE_FILE, data, if_equal=generation).result()
        except ValueError as error:
            raise self._failed(error) from error
        self._generation = written.generation
        if not self._generation:
            # A request whose answer was lost is repeated, and then finds its own object.
            found, generation = self._read()
            if found.get('token') != self._token:
                return False
            self._generation = generation
        return True

    def _failed(self, error: Exception) -> LeaseError:
        reason = in_words(self._workdir, error)
        return LeaseError(f'--workdir={self._workdir} cannot be written to: {reason}')


def _parse(data: bytes) -> dict[str, Any]:
    """Returns the content of a lease; {} for a damaged one, which counts as expired."""
    try:
        content = json.loads(data)
        return content if float(content['expires']) else {}
    except (ValueError, TypeError, KeyError):
        return {}


def _seconds_left(content: Mapping[str, Any]) -> float:
    """Returns the seconds until a lease expires; 0 if its process is known to be dead."""
    match content.get('process'):
        case [boot, space, int(number)] if [boot, space] == _this_process()[:2]:
            if not Path(f'/proc/{number}').exists():
                return 0.0
    return max(0.0, float(content.get('expires', 0)) - time.time())


def _this_process() -> list[Any]:
    """Returns this boot of the machine, the namespace of process IDs, and the process ID."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return [boot, str(Path('/proc/self/ns/pid').readlink()), os.getpid()]
    except OSError:
        return [uuid.uuid4().hex, '', os.getpid()]
