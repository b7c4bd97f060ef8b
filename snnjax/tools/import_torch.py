r"""Takes over weights from a PyTorch checkpoint.

  python -m snnjax.tools.import_torch resnet34.pth --model=ms_resnet34 --out=weights/ms_resnet34
  python -m snnjax.tools.import_torch sew34.pth --model=sew_resnet34 --out=weights/sew34 \
      --set kind=sew_iand

Names may be those of the authors' published checkpoints, whose neurons fire above the threshold
only (``strict=True``, which is then set); those of SEW-ResNets, of their authors or SpikingJelly's;
torchvision's of ResNets, VGGs and EfficientNets (--model=relu_resnet50, vgg16, vgg16_bn or
efficientnet_b0, say); or this package's own; see `snnjax.weights.torch_names`. The folder that is
written is what `snnjax.tools.evaluate --weights` and the configuration's `init_from` take.

The weights may be those of a compiled or wrapped network (`module.`, `_orig_mod.`, `net.`), of any
floating type, and lie anywhere in the file: under `state_dict`, `model`, `net`, ... If an average
(`ema`) lies beside the network, the network is taken; `--key=ema` takes the average.

Nothing in the file is executed. Needs PyTorch, `pip install 'snnjax[torch]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.errors import UserError, WeightsError
from snnjax.paths import expand
from snnjax.tools.command_line import new_parser, parse_and_run
from snnjax.tools.model_arguments import add_set_argument, model_options
from snnjax.tools.paths import output_path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('file', type=expand, help='what torch.save has written')
    parser.add_argument('--model', required=True, help='a name that create_model knows')
    parser.add_argument('--out', required=True, type=output_path, help='folder to write')
    add_set_argument(parser, '--option')
    parser.add_argument(
        '--key', default='', help='place of the weights in a file that has several, as ema.model'
    )
    return parse_and_run(_import, parser, argv)


def _import(args: argparse.Namespace) -> None:
    try:
        options = model_options(args.model, args.set)
        if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
            raise WeightsError(f'{args.out} is there already: remove it or name another folder')
        count, others = import_weights(args.file, args.model, options, args.out, args.key)
    except ImportError as error:
        raise UserError("this needs PyTorch: pip install 'snnjax[torch]'") from error
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    print(f'{count} arrays of {args.file} written to {args.out}')
    if others:
        print(f'not taken: {", ".join(others)}; --key=PLACE chooses')


def import_weights(
    file: Path, name: str, options: Mapping[str, Any], out: Path, key: str = ''
) -> tuple[int, list[str]]:
    """Reads a PyTorch checkpoint and writes a folder of weights.

    Args:
      file: the checkpoint.
      name: name of the model.
      options: options of `create_model`; what JSON can hold.
      out: folder to write.
      key: place of the weights in a file that has several.

    Returns:
      The number of arrays, and the places of weights that were not taken.

    Raises:
      OSError: if the file is missing or the folder cannot be written.
      TypeError: for an option that the model has not, or of another type.
      ValueError: for a file that holds something else, or other weights than the model's.
    """
    from snnjax.models import create_model
    from snnjax.weights.folder import save_weights
    from snnjax.weights.torch_file import read_state_dict
    from snnjax.weights.torch_names import check_scheme, scheme_of, torch_name
    from snnjax.weights.torch_state import from_state_dict

    options = dict(options)
    # Before the file is read, which may take long.
    model = create_model(name, **options)
    json.dumps(options)
    arrays, _, others = read_state_dict(file, key)
    scheme = scheme_of(arrays)
    if scheme == 'authors':
        options.setdefault('strict', True)
    check_scheme(model, scheme)
    classifier = arrays.get(torch_name(model, ('params', 'classifier', 'kernel'), scheme))
    if classifier is not None and classifier.ndim == 2:
        options.setdefault('num_classes', len(classifier))
    model = create_model(name, **options)
    save_weights(out, from_state_dict(model, arrays), name, options)
    return len(arrays), others


if __name__ == '__main__':
    sys.exit(main())
