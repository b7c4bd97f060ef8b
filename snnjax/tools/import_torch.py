r"""Imports weights from a PyTorch checkpoint.

  python -m snnjax.tools.import_torch resnet34.pth --model=ms_resnet34 --out=weights/ms_resnet34
  python -m snnjax.tools.import_torch sew34.pth --model=sew_resnet34 --out=weights/sew34 \
      --set kind=sew_iand

The parameter names of these checkpoints are known (see `snnjax.weights.torch_names`):

- checkpoints of the paper's authors; the option strict=True is set for them, because their neurons
  fire only above the threshold
- SEW-ResNets of their authors and of SpikingJelly
- ResNets, VGGs and EfficientNets of torchvision, for example --model=relu_resnet50, vgg16, vgg16_bn
  or efficientnet_b0
- networks of snnjax in PyTorch

The weights may come from a compiled or wrapped network (`module.`, `_orig_mod.`, `net.`), have any
floating type, and be under any key of the file (`state_dict`, `model`, `net`, ...). If the file
also has an average of the weights (`ema`), --key=ema imports the average instead.

`--weights` of all commands and `init_from` of a configuration take the written folder. Nothing in
the file is executed. The command needs PyTorch: `pip install 'snnjax[torch]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.errors import UserError, WeightsError
from snnjax.spelling import count
from snnjax.tools.command_line import new_parser, parse_and_run
from snnjax.tools.model_arguments import add_set_argument, model_options
from snnjax.tools.paths import local_path, output_path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('file', type=local_path, help='checkpoint that torch.save wrote')
    parser.add_argument('--model', required=True, help='name of the model, for create_model')
    parser.add_argument('--out', required=True, type=output_path, help='folder to write')
    add_set_argument(parser, '--option')
    parser.add_argument(
        '--key', default='', help='key of the weights if the file has several, as ema.model'
    )
    return parse_and_run(_import, parser, argv)


def _import(args: argparse.Namespace) -> None:
    try:
        options = model_options(args.model, args.set)
        if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
            raise WeightsError(f'{args.out} already exists: remove it or name another folder')
        number, others = import_weights(args.file, args.model, options, args.out, args.key)
    except ImportError as error:
        raise UserError(
            "importing a checkpoint needs PyTorch: pip install 'snnjax[torch]'"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    print(f'{count(number, "array")} of {args.file} written to {args.out}')
    if others:
        print(f'not imported: {", ".join(others)}; choose the weights with --key=PLACE')


def import_weights(
    file: Path, name: str, options: Mapping[str, Any], out: Path, key: str = ''
) -> tuple[int, list[str]]:
    """Reads a PyTorch checkpoint and writes a folder of weights.

    Args:
      file: the path of the checkpoint.
      name: the name of the model.
      options: the options of `create_model`, values that JSON can hold.
      out: the folder to write.
      key: the key of the weights if the file has several; '' to choose them automatically.

    Returns:
      The number of imported arrays, and the keys of weights that were not imported.

    Raises:
      OSError: if the file is missing or the folder cannot be written.
      TypeError: if an option is unknown or of the wrong type.
      ValueError: if the file is not a checkpoint, or its weights do not fit the model.
    """
    from snnjax.models import create_model
    from snnjax.weights.folder import save_weights
    from snnjax.weights.torch_file import read_state_dict
    from snnjax.weights.torch_names import check_scheme, scheme_of, torch_name
    from snnjax.weights.torch_state import from_state_dict

    options = dict(options)
    # Wrong options fail here, before the file is read, which may take long.
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
