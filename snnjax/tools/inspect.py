"""Lists the model, configuration, checkpoints and parameters of a run or a folder of weights.

  python -m snnjax.tools.inspect --weights=runs/cifar10
  python -m snnjax.tools.inspect --weights=weights/ms_resnet34 --all
  python -m snnjax.tools.inspect --weights=runs/cifar10 --json=-

The command reads names, shapes and sizes but no arrays, which is fast for large networks, too. The
parameters of a run are those of its newest checkpoint, or of --checkpoint. --all adds a line for
each array, including running statistics and optimizer state. --json writes everything as JSON.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.errors import UserError, WeightsError
from snnjax.tools.command_line import add_json_argument, new_parser, parse_and_run
from snnjax.tools.terminal import fit_terminal
from snnjax.tools.weights_arguments import add_checkpoint_argument, add_weights_argument


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    add_weights_argument(parser, 'weights')
    parser.add_argument('--all', action='store_true', help='list every array')
    add_json_argument(parser, optional=True)
    add_checkpoint_argument(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    for index, (argument, following) in enumerate(itertools.pairwise(arguments)):
        # In earlier versions, --json took no file and the folder to inspect could follow it.
        if argument == '--json' and Path(following).is_dir():
            arguments[index] = '--json=-'
    return parse_and_run(_inspect, parser, arguments)


def _inspect(args: argparse.Namespace) -> None:
    found = inspect(args.weights, args.checkpoint)
    if args.json:
        args.json.write(found)
    if not (args.json and args.json.is_stdout):
        print(fit_terminal(describe(found, every=args.all)))


def inspect(folder: Path, checkpoint: str = 'newest') -> dict[str, Any]:
    """Returns the contents of a folder as values that JSON can hold.

    Args:
      folder: the work directory of a run, or a folder of weights.
      checkpoint: the checkpoint of a run, as `snnjax.weights.steps.find_checkpoint` takes it.

    Returns:
      A dictionary with ``folder``, ``model`` (``name`` and ``options``) and ``arrays`` (``shape``
      and ``dtype`` of the parameters, running statistics and, in a run, the optimizer state, by
      path). For a run it also has ``config`` (the values that are not the default, as
      ``{key: [value, default]}``), ``checkpoints`` (see `list_checkpoints`) and ``starts`` (the
      lines of ``environment.jsonl``).

    Raises:
      WeightsError: if there are no weights, or they are damaged.
    """
    from snnjax.models.params import by_name
    from snnjax.train.metric_writer import read_lines
    from snnjax.train.run_directory import read_config
    from snnjax.weights.folder import SAFETENSORS_FILE, describe_weights, load_weights
    from snnjax.weights.steps import find_checkpoint, read_metadata

    try:
        name, options = describe_weights(folder)
        found: dict[str, Any] = {'folder': str(folder), 'model': {'name': name, 'options': options}}
        path = folder / 'variables'
        if (folder / SAFETENSORS_FILE).exists():
            arrays = by_name(load_weights(folder, checkpoint))
        elif path.exists():
            if checkpoint != 'newest':
                raise WeightsError(f'{folder} is a folder of weights: it has no checkpoints')
            arrays = by_name(read_metadata(path))
        else:
            # A run without config.json is listed without its configuration.
            config = read_config(folder)
            if config is not None:
                found['config'] = changed_values(config)
            found['checkpoints'] = list_checkpoints(folder / 'checkpoints')
            step = find_checkpoint(folder / 'checkpoints', checkpoint)
            path = folder / 'checkpoints' / str(step) / 'state'
            found['starts'] = read_lines(folder / 'environment.jsonl')
            arrays = by_name(read_metadata(path))
        found['arrays'] = {
            name: {'shape': list(leaf.shape), 'dtype': str(leaf.dtype)}
            for name, leaf in arrays.items()
        }
    except UserError:
        raise
    # Orbax raises many types of errors for damaged metadata.
    except Exception as error:
        raise WeightsError(f'{folder} is damaged: {error}') from error
    return found


def changed_values(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the values of a configuration that are not the default.

    Args:
      config: the configuration.

    Returns:
      The value and the default by key; the default is None if the key has none.
    """
    from snnjax.train.config import default_config, flatten

    defaults = flatten(default_config().to_dict())
    return {
        key: [value, defaults.get(key)]
        for key, value in flatten(config).items()
        if value != defaults.get(key)
    }


def list_checkpoints(directory: Path) -> list[dict[str, Any]]:
    """Lists the checkpoints of a run, oldest first.

    Args:
      directory: the directory of the checkpoints.

    Returns:
      A dictionary per checkpoint with ``step``, ``bytes`` (the size on disk), ``evaluation`` (its
      metrics; None if it was not evaluated), ``newest`` and ``best`` (True or False).
    """
    from snnjax.files import size_of
    from snnjax.weights.steps import best_step, checkpoint_steps, read_evaluation

    steps = checkpoint_steps(directory)
    evaluations = {step: read_evaluation(directory / str(step)) for step in steps}
    best = best_step(evaluations)
    return [
        {
            'step': step,
            'bytes': size_of(directory / str(step)),
            'evaluation': evaluation,
            'newest': step == max(evaluations),
            'best': step == best,
        }
        for step, evaluation in evaluations.items()
    ]


def describe(found: Mapping[str, Any], every: bool = False) -> str:
    """Returns the contents of a folder as text.

    Args:
      found: the result of `inspect`.
      every: True to list every array.
    """
    model, arrays = found['model'], found['arrays']
    sections = [_model(model)]
    if 'config' in found:
        sections.append(_config(found['config']))
    if 'checkpoints' in found:
        sections.append(_checkpoints(found['checkpoints']))
    sections += [_parameters(arrays), _others(arrays)]
    if every:
        rows = [(name, _shape(a['shape']), a['dtype']) for name, a in arrays.items()]
        sections.append(_section('arrays', rows))
    if found.get('starts'):
        sections.append(_starts(found['starts']))
    return '\n\n'.join(sections)


def _model(model: Mapping[str, Any]) -> str:
    return _section(model['name'], [(key, str(value)) for key, value in model['options'].items()])


def _config(config: Mapping[str, Sequence[Any]]) -> str:
    rows = [(key, str(value), f'default {default}') for key, (value, default) in config.items()]
    return _section('configuration values that are not the default', rows)


def _checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for checkpoint in checkpoints:
        evaluation = checkpoint['evaluation'] or {}
        what = [word for word in ('newest', 'best') if checkpoint[word]]
        rows.append(
            (
                f'step {checkpoint["step"]:,}',
                f'{checkpoint["bytes"] / 2**20:,.1f} MiB',
                f'accuracy {evaluation["eval/accuracy"]:.4f}' if evaluation else 'not evaluated',
                ', '.join(what),
            )
        )
    return _section('checkpoints', rows)


def _parameters(arrays: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a section with a row for each block, in network order."""
    from snnjax.models.params import block_of, forward_order

    blocks: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for name, array in arrays.items():
        kind, _, place = name.partition('/')
        if kind == 'params':
            blocks[block_of(place)].append(array)
    rows = [
        (block, f'{_size(blocks[block]):,}', _dtypes(blocks[block]), _shapes(blocks[block]))
        for block in sorted(blocks, key=forward_order)
    ]
    total = sum(_size(block) for block in blocks.values())
    return _section(f'{total:,} parameters', rows)


def _others(arrays: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a section with a row for each part of the state besides the parameters."""
    parameters = {name.partition('/')[2] for name in arrays if name.startswith('params/')}
    parts: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for name, array in arrays.items():
        kind, _, place = name.partition('/')
        if kind == 'opt_state':
            # Arrays that the optimizer keeps per parameter, such as a momentum, share one row.
            ends = (place[i + 1 :] for i, letter in enumerate(place) if letter == '/')
            end = next((end for end in ends if end in parameters), '')
            parts[f'optimizer {place.removesuffix(f"/{end}")}'].append(array)
        elif kind != 'params':
            parts[kind].append(array)
    rows = [(name, f'{_size(part):,}', _dtypes(part)) for name, part in sorted(parts.items())]
    return _section('other arrays', rows)


def _starts(starts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for start in starts:
        devices = collections.Counter(start.get('devices', []))
        # An installed package has no commit; runs of early versions have no version.
        version = f'version {start.get("version", "unknown")}'
        code = f'commit {start["commit"]}' if start.get('commit') else version
        packages = {'Python': start.get('python', 'unknown'), **start.get('packages', {})}
        rows.append(
            (
                str(start.get('time', 'unknown')),
                code,
                ', '.join(f'{number} {kind}' for kind, number in devices.items()),
                ', '.join(f'{name} {version}' for name, version in packages.items()),
            )
        )
    return _section('starts', rows)


def _size(arrays: Iterable[Mapping[str, Any]]) -> int:
    return sum(math.prod(array['shape']) for array in arrays)


def _dtypes(arrays: Iterable[Mapping[str, Any]]) -> str:
    return ', '.join(sorted({array['dtype'] for array in arrays}))


def _shapes(arrays: Iterable[Mapping[str, Any]]) -> str:
    counted = collections.Counter(_shape(array['shape']) for array in arrays)
    return ', '.join(f'{n} of {shape}' if n > 1 else shape for shape, n in counted.items())


def _shape(shape: Iterable[int]) -> str:
    return 'x'.join(map(str, shape)) or 'scalar'


def _section(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Returns a title followed by rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return '\n'.join([title, *(f'  {line}' for line in lines)])


if __name__ == '__main__':
    sys.exit(main())
