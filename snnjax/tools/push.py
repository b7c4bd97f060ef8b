"""Uploads trained weights to the Hugging Face Hub.

  python -m snnjax.tools.export --weights=runs/cifar10 --format=safetensors --out=cifar10
  python -m snnjax.tools.push cifar10 hf://OWNER/NAME

Every command reads the weights with --weights=hf://OWNER/NAME, or hf://OWNER/NAME@REVISION for a
branch, a tag or a commit. Only the weights and model.json are uploaded and read. The page of the
repository is made from model.json, which must name a license.

Log in with `hf auth login`, or set HF_TOKEN. With HF_HUB_OFFLINE=1, commands that read weights do
not access the network. The command needs `pip install 'snnjax[hub]'`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.errors import UserError
from snnjax.tools.command_line import new_parser, parse_and_run
from snnjax.tools.paths import local_path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('weights', type=local_path, metavar='DIR', help='folder of safetensors')
    parser.add_argument('destination', metavar='hf://OWNER/NAME', help='repository to upload to')
    parser.add_argument('--private', action='store_true', help='make a new repository private')
    return parse_and_run(_push, parser, argv)


def _push(args: argparse.Namespace) -> None:
    from snnjax.export.hub import push

    try:
        print(push(args.weights, args.destination, private=args.private))
    except ImportError as error:
        raise UserError(f"{error}: pip install 'snnjax[hub]'") from error


if __name__ == '__main__':
    sys.exit(main())
