"""Paths in buckets of Google Cloud Storage.

The files of a run are read and written through TensorStore, which writes on conditions, retries for
a known time, and has one kind of error. Orbax reads and writes its own files through `etils.epath`
and gcsfs.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from etils.epath import backend, gpath

from snnjax.errors import PathError

if TYPE_CHECKING:
    import tensorstore as ts

# Failed requests are retried for about half a minute.
_RETRIES = {'max_retries': 6, 'initial_delay': '1s', 'max_delay': '8s'}


class BucketPath(gpath.PosixGPath):
    """A path ``gs://BUCKET/NAME``, with the methods of `pathlib.Path` that runs need.

    Objects are written whole or not at all. There are no real folders: a path is a folder if there
    are objects below it. Errors are `FileNotFoundError`, or an `OSError` with a readable reason.
    """

    # The same with TensorFlow installed, which etils would use otherwise.
    _backend = property(lambda self: backend.fsspec_backend)

    def absolute(self) -> Self:
        """Returns the path itself; `epath` would prepend the current folder."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Returns the path itself, since a bucket has no links."""
        return self

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Does nothing, since a bucket has no folders; `gcsfs` would create a missing bucket."""

    def rmdir(self) -> None:
        """Does nothing, since a bucket has no folders."""

    def is_file(self) -> bool:
        """Returns whether there is an object of this name."""
        return bool(self._keys(self._key, f'{self._key}\0'))

    def is_dir(self) -> bool:
        """Returns whether there are objects below this path."""
        return bool(self._below())

    def exists(self) -> bool:
        """Returns whether the path is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[Self]:
        """Yields the files and folders of this folder; FileNotFoundError if there are none."""
        names = {key.removeprefix(f'{self._key}/').partition('/')[0] for key in self._below()}
        if not names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return iter([self / name for name in sorted(names)])

    def read_bytes(self) -> bytes:
        """Returns the content of the object."""
        found = self._request(lambda store: store.read(self._key))
        if found.state != 'value':
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return found.value

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Returns the content of the object, decoded as UTF-8 by default."""
        return self.read_bytes().decode(encoding or 'utf-8', errors or 'strict')

    def write_bytes(self, data: bytes) -> int:
        """Writes the whole object; returns the number of bytes."""
        self._request(lambda store: store.write(self._key, data))
        return len(data)

    def write_text(self, data: str, encoding: str | None = None, errors: str | None = None) -> int:
        """Writes the whole object; returns the number of bytes."""
        return self.write_bytes(data.encode(encoding or 'utf-8', errors or 'strict'))

    def read_if_there(self) -> tuple[bytes | None, bytes]:
        """Returns the content of the object, None if there is none, and its generation."""
        found = self._request(lambda store: store.read(self._key))
        return (found.value if found.state == 'value' else None), found.stamp.generation

    def write_if(self, data: bytes | None, generation: bytes) -> bytes | None:
        """Writes the object if it is still of a generation.

        Args:
          data: the content; None removes the object.
          generation: the generation, see `read_if_there`.

        Returns:
          The new generation; None if the object has another one, and nothing was written.
        """
        if not generation:
            raise ValueError('an empty generation would be no condition')
        written = self._request(
            lambda store: store.write(self._key, data, if_equal=generation)
        ).generation
        if written:
            return written
        # A request whose answer was lost is repeated, and then finds its own object.
        found, current = self.read_if_there()
        return current if found == data else None

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""
        if not (missing_ok or self.is_file()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        self._request(lambda store: store.write(self._key, None))

    def rmtree(self, missing_ok: bool = False, last: Iterable[str] = ()) -> None:
        """Removes all objects below this path.

        Args:
          missing_ok: true if there may be none.
          last: the names of objects to remove after all others.
        """
        keys = self._below()
        if not (keys or missing_ok):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        kept = {f'{self._key}/{name}' for name in last}
        for part in (set(keys) - kept, set(keys) & kept):
            for key in sorted(part):
                type(self)(f'gs://{self._bucket}/{key}').unlink(missing_ok=True)

    def rename(self, target: Any) -> Self:
        """Moves all objects below this path to below another one, one by one."""
        target = type(self)(target)
        for key in self._below():
            other = target / key.removeprefix(f'{self._key}/')
            source = type(self)(f'gs://{self._bucket}/{key}')
            other.write_bytes(source.read_bytes())
            source.unlink(missing_ok=True)
        return target

    def size(self) -> int:
        """Returns the bytes of all objects below this path."""
        import fsspec

        with self._readable_errors():
            return fsspec.filesystem('gcs').du(str(self))

    @property
    def _bucket(self) -> str:
        return str(self).removeprefix('gs://').partition('/')[0]

    @property
    def _key(self) -> str:
        return str(self).removeprefix('gs://').partition('/')[2]

    def _below(self) -> list[str]:
        # '0' follows '/' in ASCII.
        return self._keys(f'{self._key}/', f'{self._key}0')

    def _keys(self, first: str, end: str) -> list[str]:
        def listed(store: ts.KvStore) -> Any:
            import tensorstore as ts

            return store.list(ts.KvStore.KeyRange(first, end))

        # An emulator may return more than the range.
        keys = [key.decode() for key in self._request(listed)]
        return [key for key in keys if first <= key < end]

    def _request(self, request: Callable[[ts.KvStore], Any]) -> Any:
        with self._readable_errors():
            return request(_store(self._bucket)).result()

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Makes every error of a client an `OSError` with a readable message."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise OSError(errno.EIO, in_words(self, error), str(self)) from error


@functools.lru_cache(maxsize=8)
def _store(bucket: str) -> ts.KvStore:
    import tensorstore as ts

    context = {'gcs_request_retries': _RETRIES}
    return ts.KvStore.open({'driver': 'gcs', 'bucket': bucket, 'context': context}).result()


def open_bucket(url: str) -> Path:
    """Returns the path of a URL; nothing is read or written.

    Args:
      url: the URL, ``gs://BUCKET/NAME``.

    Returns:
      A `BucketPath`, typed as `pathlib.Path`.

    Raises:
      PathError: if the URL is of another kind of store, lacks a bucket or a name, or has characters
        that gcsfs takes for a pattern; or if `gcsfs` is not installed.
    """
    scheme, _, rest = url.partition('://')
    if scheme != 'gs':
        raise PathError(
            f'{url}: {scheme}:// is not supported; give gs://BUCKET/NAME, or mount the bucket as a '
            'folder'
        )
    bucket, _, name = rest.partition('/')
    is_bucket = re.fullmatch(r'[a-z0-9]([a-z0-9_-]|\.(?!\.)){1,61}[a-z0-9]', bucket)
    if not (is_bucket and name.strip('/')):
        raise PathError(f'{url} must be gs://BUCKET/NAME')
    if re.search(r'[\[\]*?#\\\x00-\x1f\x7f]', name):
        raise PathError(f'{url}: a name in a bucket must not contain [ ] * ? # or \\')
    # A lookup for each request, which needs permissions of its own.
    os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
    try:
        import fsspec
        import gcsfs  # noqa: F401
    except ImportError:
        raise PathError(f"{url} needs gcsfs: pip install 'snnjax[gcs]'") from None
    # TensorStore writes objects, too, which are missing from cached listings.
    options = {'use_listings_cache': False, 'requests_timeout': 30.0}
    fsspec.config.conf['gcs'] = options | fsspec.config.conf.get('gcs', {})
    return cast(Path, BucketPath(url.rstrip('/')))


# Codes of TensorStore for a server that cannot be reached or refuses.
_OUTAGES = ('UNAVAILABLE', 'ABORTED', 'DEADLINE_EXCEEDED', 'PERMISSION_DENIED', 'UNAUTHENTICATED')


def is_outage(error: BaseException) -> bool:
    """Returns whether an error says that a bucket cannot be read now, not that data is damaged."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return True
    names = type(error).__name__ in ('HttpError', 'RefreshError', 'TransportError')
    return names or any(code in str(error) for code in _OUTAGES)


def in_words(path: Path, error: Exception) -> str:
    """Returns the reason why a request to a bucket failed, for the user."""
    text = str(error)
    bucket = str(path).removeprefix('gs://').partition('/')[0]
    if 'NOT_FOUND' in text or isinstance(error, FileNotFoundError):
        return f'there is no bucket {bucket}'
    if 'PERMISSION_DENIED' in text or 'UNAUTHENTICATED' in text or 'Forbidden' in text:
        return (
            f'permission denied; the account needs roles/storage.objectUser on {bucket} '
            '(gcloud auth application-default login selects the account)'
        )
    return (text.splitlines() or [type(error).__name__])[0][:200]
