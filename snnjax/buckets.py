"""Paths in buckets of Google Cloud Storage, and readable errors."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from etils.epath import gpath

from snnjax.errors import PathError

if TYPE_CHECKING:
    import tensorstore as ts

_Answer = TypeVar('_Answer')

# Failed requests of the lease are retried for about half a minute.
_RETRIES = {'max_retries': 6, 'initial_delay': '1s', 'max_delay': '8s'}


class BucketPath(gpath.PosixGPath):
    """A path ``gs://BUCKET/NAME``, with the methods of `pathlib.Path` that runs need.

    Objects are written whole or not at all. There are no real folders: a path is a folder if there
    are objects below it.
    """

    def absolute(self) -> Self:
        """Returns the path itself; `epath` would put the current folder in front."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Returns the path itself, since a bucket has no links."""
        return self

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Does nothing, since a bucket has no folders; `gcsfs` would create a missing bucket."""

    def rmdir(self) -> None:
        """Does nothing, since a bucket has no folders."""

    def read_bytes(self) -> bytes:
        """Returns the content of the object."""
        return self._request(super().read_bytes)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Returns the content of the object, decoded as UTF-8 by default."""
        return self.read_bytes().decode(encoding or 'utf-8', errors or 'strict')

    def write_bytes(self, data: bytes) -> int:
        """Writes the object, whole; returns the number of bytes."""
        return self._request(lambda: super(BucketPath, self).write_bytes(data))

    def write_text(self, data: str, encoding: str | None = None, errors: str | None = None) -> int:
        """Writes the object, whole; returns the number of bytes."""
        return self.write_bytes(data.encode(encoding or 'utf-8', errors or 'strict'))

    def is_file(self) -> bool:
        """Returns whether there is an object of this name."""
        return self.exists() and not self.is_dir()

    def size(self) -> int:
        """Returns the size of all objects below this path, in bytes."""
        import fsspec

        return fsspec.filesystem('gcs').du(str(self))

    def _request(self, request: Callable[[], _Answer]) -> _Answer:
        """Returns the answer to a request; errors become `OSError` with a readable message."""
        try:
            return request()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise OSError(errno.EIO, in_words(self, error), str(self)) from error


def open_bucket(url: str) -> Path:
    """Returns the path of a URL; nothing is read or written.

    Args:
      url: the URL, ``gs://BUCKET/NAME``.

    Returns:
      A `BucketPath`, declared as `pathlib.Path`.

    Raises:
      PathError: if the store is not supported, the URL has no bucket, or `gcsfs` is missing.
    """
    scheme, _, rest = url.partition('://')
    if scheme != 'gs':
        raise PathError(
            f'{url}: {scheme}:// is not supported; give gs://BUCKET/NAME, or mount the bucket as a '
            'folder'
        )
    bucket, _, name = rest.partition('/')
    if not re.fullmatch(r'[a-z0-9][a-z0-9._-]+[a-z0-9]', bucket) or not name.strip('/'):
        raise PathError(f'{url} must be gs://BUCKET/NAME')
    try:
        import fsspec
        import gcsfs  # noqa: F401
    except ImportError:
        raise PathError(f"{url} needs gcsfs: pip install 'snnjax[gcs]'") from None
    # A cached listing would lack the objects that TensorStore writes.
    fsspec.config.conf.setdefault('gcs', {})['use_listings_cache'] = False
    return cast(Path, BucketPath(url.rstrip('/')))


def open_store(path: Path) -> ts.KvStore:
    """Opens the objects below a path of a bucket for conditional requests."""
    import tensorstore as ts

    bucket, _, name = str(path).removeprefix('gs://').partition('/')
    retries = {'gcs_request_retries': _RETRIES}
    spec = {'driver': 'gcs', 'bucket': bucket, 'path': f'{name}/', 'context': retries}
    return ts.KvStore.open(spec).result()


def in_words(path: Path, error: Exception) -> str:
    """Returns a readable reason why a request to a bucket failed."""
    text = str(error)
    bucket = str(path).removeprefix('gs://').partition('/')[0]
    if 'NOT_FOUND' in text or isinstance(error, FileNotFoundError):
        return f'there is no bucket {bucket}'
    if 'PERMISSION_DENIED' in text or 'UNAUTHENTICATED' in text or '403' in text:
        return (
            f'permission denied; the account needs roles/storage.objectUser on {bucket} '
            '(gcloud auth application-default login chooses the account)'
        )
    return (text.splitlines() or [type(error).__name__])[0][:200]
