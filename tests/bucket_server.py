"""A server of Google Cloud Storage on this machine, for tests.

gcp-storage-emulator serves the objects. What it ignores or lacks is done here: empty objects, the
conditions of requests, ranges from the end, and moving. A bucket named ``forbidden`` denies
permission.

  python -m tests.bucket_server PORT FOLDER
"""

import contextlib
import http.client
import http.server
import logging
import os
import subprocess
import sys
import threading
import time
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

BUCKET = 'runs'

# Asking for the kind of a bucket needs credentials. It is read when gcsfs is imported.
os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')

_LOCK = threading.Lock()


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


def main():
    """Serves until it is killed; what was written stays in the folder."""
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    logging.disable(logging.CRITICAL)
    port, folder = sys.argv[1:]

    def generation_of(storage, bucket, name):
        try:
            return storage.get_file_obj(bucket, name)['generation']
        except NotFound:
            return '0'

    def checked(handle):
        def handler(request, response, storage, *args, **kwargs):
            bucket = request.params['bucket_name']
            request.get_header = whole_range(request, storage)
            if request.query.get('uploadType') == ['media'] and request.data is None:
                request._data = b''
            name = request.params.get('object_id') or unquote(request.query.get('name', [''])[0])
            if bucket == 'forbidden':
                response.status = HTTPStatus.FORBIDDEN
                return
            with _LOCK:
                expected = request.query.get('ifGenerationMatch')
                if expected and expected[0] != generation_of(storage, bucket, name):
                    response.status = HTTPStatus.PRECONDITION_FAILED
                    return
                handle(request, response, storage, *args, **kwargs)
                if name:
                    response['x-goog-generation'] = generation_of(storage, bucket, name)

        return handler

    def whole_range(request, storage):
        """Headers, with the range of the last bytes, ``bytes=-N``, from its start to its end."""
        get_header = request.get_header

        def get(key, default=None):
            value = get_header(key, default)
            if key != 'range' or not (value or '').startswith('bytes=-'):
                return value
            size = len(storage.get_file(request.params['bucket_name'], request.params['object_id']))
            return f'bytes={max(0, size - int(value[7:]))}-'

        return get

    def move(request, response, storage):
        bucket, name = request.params['bucket_name'], request.params['object_id']
        request.params['dest_bucket_name'] = bucket
        objects.copy(request, response, storage)
        if response.status == HTTPStatus.OK:
            storage.delete_file(bucket, name)

    moving = (
        r'^/storage/v1/b/(?P<bucket_name>[-.\w]+)/o/(?P<object_id>.*[^/]+)/moveTo/o/'
        r'(?P<dest_object_id>.*[^/]+)$'
    )
    server.HANDLERS = tuple(
        (
            pattern,
            {m: checked(h) if '<bucket_name>' in pattern else h for m, h in handlers.items()},
        )
        for pattern, handlers in ((moving, {'POST': move}), *server.HANDLERS)
    )
    # One request at a time, and five waiting, are too few for clients with many threads.
    server.server.HTTPServer = _Server
    server.create_server('127.0.0.1', int(port), data_dir=folder, default_bucket=BUCKET).run()


class BucketServer:
    """The server as a process, which can be stopped and started again.

    Args:
      folder: a folder for the objects.
    """

    def __init__(self, folder):
        self._folder = folder
        self._process = None
        import socket

        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self.port = probe.getsockname()[1]

    @property
    def environment(self):
        """The variables by which clients find the server."""
        url = f'http://127.0.0.1:{self.port}'
        return {
            'STORAGE_EMULATOR_HOST': url,
            'TENSORSTORE_GCS_HTTP_URL': url,
            'CLOUD_STORAGE_EMULATOR_ENDPOINT': url,
            'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
        }

    def start(self):
        """Starts the server, and waits until it answers."""
        command = [sys.executable, '-m', 'tests.bucket_server', str(self.port), str(self._folder)]
        self._process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=5)
                connection.request('GET', '/')
                connection.getresponse().read()
                return
            time.sleep(0.1)
        raise AssertionError('the server does not answer')

    def stop(self):
        """Kills the server; the objects stay."""
        self._process.kill()
        self._process.wait()


def download(path, folder):
    """Copies a folder of a bucket to a folder that is made."""
    import fsspec

    fsspec.filesystem('gcs').get(f'{path}/', f'{folder}/', recursive=True)


def upload(folder, path):
    """Copies a folder to one in a bucket."""
    import fsspec

    fsspec.filesystem('gcs').put(f'{folder}/', f'{path}/', recursive=True)


if __name__ == '__main__':
    os.environ.pop('STORAGE_EMULATOR_HOST', None)
    main()
