"""Runs commands one after the other, as a shell would, with a small CIFAR-10 in ~/Downloads.

Reads a list of [MODULE, ARGUMENT, ...] from stdin as JSON; ends where a command ends with another
status than 0. Each command has a process of its own, which begins with what is slow to import.
"""

import dataclasses
import functools
import hashlib
import json
import os
import runpy
import sys
from pathlib import Path

import matplotlib.figure  # noqa: F401
import numpy as np

from snnjax.analysis import energy, figures, similarity  # noqa: F401
from snnjax.data import datasets
from snnjax.data.sources import cifar
from tests.data.sources.test_cifar import official_file


def write_download(folder):
    """Files of the official form with sixteen images each, and what checks and reads them."""
    rng, md5 = np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    for split, names in cifar.CIFAR10.md5.items():
        md5[split] = {}
        for name in names:
            content, _, _ = official_file(rng, cifar.CIFAR10, 16)
            (folder / name).write_bytes(content)
            md5[split][name] = hashlib.md5(content).hexdigest()
    download = dataclasses.replace(cifar.CIFAR10, md5=md5)
    return functools.partial(cifar.plan, 'cifar10', download)


def run(module, *arguments):
    """Runs a command in a process of its own; returns its exit status."""
    process = os.fork()
    if not process:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name='__main__', alter_sys=True)
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == '__main__':
    datasets.PLANS['cifar10'] = write_download(
        Path('~/Downloads', cifar.CIFAR10.folder).expanduser()
    )
    for command in json.load(sys.stdin):
        print('$', *command, flush=True)
        if status := run(*command):
            sys.exit(f'{command[0]} has ended with {status}')
