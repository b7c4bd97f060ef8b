"""Weights on the Hugging Face Hub, which a local server stands in for."""

import base64
import hashlib
import json
import os
import re
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from snnjax.errors import PathError
from snnjax.export.hub import describe
from snnjax.weights.hub import split_name
from snnjax.weights.source import find_weights
from tests import processes
from tests.conftest import ROOT

pytest.importorskip('huggingface_hub', reason="needs huggingface-hub: pip install 'snnjax[hub]'")

PRETRAINED = ROOT / 'snnjax' / 'pretrained' / 'ms_resnet20_cifar10'


class Hub:
    """Repositories by name, each of them files by revision, and what was asked for."""

    def __init__(self):
        self.repositories, self.asked = {}, []

    def answer(self, method, path, body):
        """Returns status, headers and content of an answer."""
        self.asked.append(f'{method} {path}')
        if path == '/api/repos/create':
            name = '{organization}/{name}'.format(**json.loads(body))
            self.repositories.setdefault(name, {})
            return 200, {}, json.dumps({'url': f'{self.url}/{name}'})
        if path == '/api/validate-yaml':
            return 200, {}, json.dumps({'errors': [], 'warnings': []})
        if match := re.fullmatch(r'/api/models/(\w+/\w+)/preupload/(.+)', path):
            files = json.loads(body)['files']
            modes = [{'path': f['path'], 'uploadMode': 'regular'} for f in files]
            return 200, {}, json.dumps({'files': [m | {'shouldIgnore': False} for m in modes]})
        if match := re.fullmatch(r'/api/models/(\w+/\w+)/commit/(.+)', path):
            values = [json.loads(line) for line in body.splitlines()]
            files = {
                entry['value']['path']: base64.b64decode(entry['value']['content'])
                for entry in values
                if entry['key'] == 'file'
            }
            commit = _digest(body)
            self.repositories[match[1]] |= {match[2]: (commit, files), commit: (commit, files)}
            address = f'{self.url}/{match[1]}/commit/{commit}'
            return 200, {}, json.dumps({'commitUrl': address, 'commitOid': commit})
        for pattern, answer in (
            (r'/api/models/(\w+/\w+)(?:/revision/(.+))?', self._describe),
            (r'/api/models/(\w+/\w+)/tree/(.+)', self._list),
            (r'/(\w+/\w+)/resolve/([^/]+)/(.+)', self._send),
        ):
            match = re.fullmatch(pattern, path)
            if match and (found := self.repositories.get(match[1], {}).get(match[2] or 'main')):
                return 200, *answer(match, *found)
        return 404, {'X-Error-Code': 'RepoNotFound', 'X-Error-Message': 'Not found'}, b'{}'

    def _describe(self, match, commit, files):
        siblings = [{'rfilename': name} for name in files]
        return {}, json.dumps({'id': match[1], 'sha': commit, 'siblings': siblings})

    def _list(self, match, commit, files):
        entries = [
            {'type': 'file', 'path': name, 'size': len(content), 'oid': _digest(content)}
            for name, content in files.items()
        ]
        return {}, json.dumps(entries)

    def _send(self, match, commit, files):
        content = files[match[3]]
        return {'X-Repo-Commit': commit, 'ETag': f'"{_digest(content)}"'}, content


def _digest(content):
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub():
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
            status, headers, content = hub.answer(self.command, self.path.partition('?')[0], body)
            content = content.encode() if isinstance(content, str) else content
            self.send_response(status)
            for key, value in {**headers, 'Content-Length': str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != 'HEAD':
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        hub.url = f'http://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


@pytest.fixture
def snnjax(hub, tmp_path):
    """Runs a command of the package beside the server: which one is read when it is imported."""

    def run(*arguments, **environment):
        settings = {'HF_ENDPOINT': hub.url, 'HF_HOME': str(tmp_path / 'hf'), 'HF_TOKEN': 'hf_x'}
        return processes.run(
            [sys.executable, '-m', 'snnjax', *arguments],
            cwd=ROOT,
            env=os.environ | settings | {'HF_HUB_DISABLE_XET': '1'} | environment,
        )

    return run


def test_weights_go_to_the_hub_and_come_back(snnjax, hub, tmp_path):
    sent = snnjax('push', str(PRETRAINED), 'hf://lab/net')
    assert sent.returncode == 0, sent.stderr
    commit, files = hub.repositories['lab/net']['main']
    assert sent.stdout.strip() == f'{hub.url}/lab/net/commit/{commit}'
    assert files.keys() == {'model.json', 'variables.safetensors', 'README.md'}
    # Others may have put more there, which is not for us.
    files['model.pkl'] = b'a program'
    inspected = snnjax('inspect', '--weights=hf://lab/net')
    assert '272,474' in inspected.stdout, inspected.stderr
    assert not any('model.pkl' in asked for asked in hub.asked)
    # Without a network they are still there, also by their commit.
    asked = len(hub.asked)
    for name in ('hf://lab/net', f'hf://lab/net@{commit}'):
        offline = snnjax('inspect', f'--weights={name}', HF_HUB_OFFLINE='1')
        assert '272,474' in offline.stdout, offline.stderr
    assert len(hub.asked) == asked
    unknown = snnjax('inspect', '--weights=hf://lab/other', HF_HUB_OFFLINE='1')
    assert unknown.returncode == 2
    assert 'was not fetched before' in unknown.stderr


def test_what_is_not_on_the_hub_or_no_weights_is_refused_in_a_line(snnjax, hub):
    missing = snnjax('inspect', '--weights=hf://lab/none')
    assert missing.returncode == 2
    assert 'hf://lab/none cannot be fetched' in missing.stderr
    hub.repositories['lab/pickles'] = {'main': ('1' * 40, {'pytorch_model.bin': b''})}
    hub.repositories['lab/pickles']['1' * 40] = hub.repositories['lab/pickles']['main']
    refused = snnjax('inspect', '--weights=hf://lab/pickles')
    assert refused.returncode == 2
    assert 'has no model.json and no variables.safetensors' in refused.stderr


def copied(tmp_path):
    folder = tmp_path / 'weights'
    shutil.copytree(PRETRAINED, folder)
    return folder


def add_pickle(folder):
    (folder / 'weights.pth').touch()


def forget_license(folder):
    card = json.loads((folder / 'model.json').read_text())
    (folder / 'model.json').write_text(json.dumps(card | {'licence': None}))


def damage(folder):
    with (folder / 'variables.safetensors').open('r+b') as file:
        file.truncate(1000)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (add_pickle, r'not a folder of safetensors: it has weights\.pth'),
        (forget_license, 'has no license'),
        (damage, 'cannot be read'),
    ],
)
def test_only_safetensors_with_a_license_are_sent(tmp_path, change, reason):
    from snnjax.export.hub import push

    folder = copied(tmp_path)
    change(folder)
    with pytest.raises(ValueError, match=reason):
        push(folder, 'hf://lab/net')


def test_names_have_an_owner_and_may_have_a_revision():
    assert split_name('hf://lab/net') == ('lab/net', None)
    assert split_name('hf://lab/net-2.1@v1.0') == ('lab/net-2.1', 'v1.0')
    for wrong in ('hf://net', 'hf://lab/net/file', 'hf://lab/net@', 'hf://a b/c'):
        with pytest.raises(PathError, match='must be hf://OWNER/NAME'):
            split_name(wrong)


def test_the_page_of_a_repository_says_how_to_use_the_weights():
    card = json.loads((PRETRAINED / 'model.json').read_text())
    page = describe(card, 'lab/net')
    assert page.startswith('---\nlicense: "apache-2.0"\n')
    assert "snnjax.load('hf://lab/net')" in page
    assert '`ms_resnet20`, 4 time steps, 272,474 parameters' in page


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(PathError, match=r"pip install 'snnjax\[hub\]'"):
        find_weights('hf://lab/net')
