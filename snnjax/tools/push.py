"""Sends trained weights to the Hugging Face Hub.

  python -m snnjax.tools.export --weights=runs/cifar10 --format=safetensors --out=cifar10
  python -m snnjax.tools.push cifar10 hf://OWNER/NAME

Every command takes them from there, as --weights=hf://OWNER/NAME, or hf://OWNER/NAME@REVISION for
a branch, a tag or a commit. Only the weights and their card, model.json, are sent and read; the
page of the repository is made from the card, which needs a licence in it.

HF_TOKEN, or `hf auth login`, says who sends. HF_HUB_OFFLINE=1 keeps reading commands off the
network. Needs `pip install 'snnjax[hub]'`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.errors import UserError
from snnjax.paths import expand
from snnjax.tools.command_line import new_parser, parse_and_run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('weights', type=expand, metavar='DIR', help='a folder of safetensors')
    parser.add_argument('destination', metavar='hf://OWNER/NAME', help='a repository')
    parser.add_argument('--private', action='store_true', help='only its owner sees a new one')
    return parse_and_run(_push, parser, argv)


def _push(args: argparse.Namespace) -> None:
    from snnjax.export.hub import push

    try:
        print(push(args.weights, args.destination, private=args.private))
    except ImportError as error:
        raise UserError(f"{error}: pip install 'snnjax[hub]'") from error


if __name__ == '__main__':
    sys.exit(main())
