"""Takes over weights from a PyTorch checkpoint.

  python -m snnjax.tools.import_torch resnet34.pth --model=ms_resnet34 --out=weights/ms_resnet34
  python -m snnjax.tools.import_torch sew34.pth --model=sew_resnet34 --out=weights/sew34 \
      --option kind=sew_iand

Names may be those of the authors' published checkpoints, whose neurons fire above the threshold
only (``strict=True``, which is then set); those of SEW-ResNets, of their authors or SpikingJelly's;
or this package's own; see `snnjax.models.torch_names`. The folder that is written is what
`snnjax.tools.evaluate --weights` and the configuration's `init_from` take.

The file is read with `weights_only=True`: nothing in it is executed. Needs PyTorch,
`pip install 'snnjax[torch]'`.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.models import create_model
from snnjax.models.torch_names import scheme_of
from snnjax.models.torch_weights import from_state_dict
from snnjax.tools.paths import output_path
from snnjax.train.weights import WeightsError, save_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', type=Path, help='what torch.save has written')
    parser.add_argument('--model', required=True, help='a name that create_model knows')
    parser.add_argument('--out', required=True, type=output_path, help='folder to write')
    parser.add_argument(
        '--option',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help="of the model, as stem='conv7'; more than one may be given",
    )
    args = parser.parse_args(argv)
    try:
        options = dict(_parse_option(text) for text in args.option)
        names = import_weights(args.file, args.model, options, args.out.expanduser())
    except ImportError:
        print("error: this needs PyTorch: pip install 'snnjax[torch]'", file=sys.stderr)
        return 2
    except (OSError, TypeError, ValueError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{names} arrays of {args.file} written to {args.out}')
    return 0


def import_weights(file: Path, name: str, options: Mapping[str, Any], out: Path) -> int:
    """Reads a PyTorch checkpoint and writes a folder of weights; returns how many arrays it had.

    Raises:
      ValueError: for a file that holds something else, or other weights than the model's.
    """
    state_dict = read_state_dict(file)
    options = dict(options)
    if scheme_of(state_dict) == 'authors':
        options.setdefault('strict', True)
    classifier = next((v for k, v in state_dict.items() if k.endswith('fc.weight')), None)
    if classifier is not None:
        options.setdefault('num_classes', len(classifier))
    model = create_model(name, **options)
    save_weights(out, from_state_dict(model, state_dict), name, options)
    return len(state_dict)


def read_state_dict(file: Path) -> dict[str, Any]:
    """Arrays by name from a file of ``torch.save``, at its top or under 'state_dict' or 'model'.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: for a file that holds anything but tensors in dictionaries.
    """
    import pickle

    import torch

    if not file.is_file():
        raise FileNotFoundError(f'no file {file}')
    try:
        # Training scripts save their arguments, too; a namespace does nothing but hold them.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f'{file} is not a checkpoint of tensors alone: {error}') from error
    for key in ('state_dict', 'model'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f'{file} holds no state_dict but {type(content).__name__}')
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f'{file}: {name} is {type(value).__name__}, expected a tensor')
    return {name: value.numpy() for name, value in content.items()}


def _parse_option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition('=')
    if not equals:
        raise ValueError(f'--option {text}: write KEY=VALUE')
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


if __name__ == '__main__':
    sys.exit(main())
