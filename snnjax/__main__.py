"""The entry point of ``python -m snnjax COMMAND``, which runs a command of `snnjax.cli`."""

from __future__ import annotations

import sys

from snnjax.cli import main

if __name__ == '__main__':
    sys.exit(main(program='python -m snnjax'))
