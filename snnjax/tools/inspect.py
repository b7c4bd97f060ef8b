"""Tells what a run, or a folder of weights, holds: model, configuration, checkpoints, parameters.

  python -m snnjax.tools.inspect --weights=runs/cifar10
  python -m snnjax.tools.inspect --weights=weights/ms_resnet34 --all
  python -m snnjax.tools.inspect --weights=runs/cifar10 --json=-

Names, shapes and sizes are read, but no arrays: that is quick for the largest network, too. Of a
run parameters are those of the newest checkpoint, or of --checkpoint. With --all there is a line
for every array, also of the statistics and the optimiser; with --json all of it, to be read by
programs.
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
from snnjax.tools.weights_arguments import add_checkpoint_argument, add_weights_argument


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = new_parser(__doc__)
    add_weights_argument(parser, 'weights')
    parser.add_argument('--all', action='store_true', help='a line for every array')
    add_json_argument(parser, optional=True)
    add_checkpoint_argument(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    for index, (argument, following) in enumerate(itertools.pairwise(arguments)):
        # In earlier versions no file followed, but what is to be inspected might.
        if argument == '--json' and Path(following).is_dir():
            arguments[index] = '--json=-'
    return parse_and_run(_inspect, parser, arguments)


def _inspect(args: argparse.Namespace) -> None:
    found = inspect(args.weights, args.checkpoint)
    if args.json:
        args.json.write(found)
    if not (args.json and args.json.is_stdout):
        print(describe(found, every=args.all))


def inspect(folder: Path, checkpoint: str = 'newest') -> dict[str, Any]:
    """What a folder holds, as JSON can have it.

    Args:
      folder: the work directory of a run, or a folder of weights.
      checkpoint: of a run, see `snnjax.weights.steps.find_checkpoint`.

    Returns:
      ``model`` (``name`` and ``options``), ``config`` (of a run: values that are not the default,
      as ``{key: [value, default]}``), ``checkpoints`` (of a run, see `list_checkpoints`),
      ``arrays`` (of the parameters, statistics and, in a run, the optimiser, by their place:
      ``shape`` and ``dtype``), ``starts`` (of a run, the lines of ``environment.jsonl``).

    Raises:
      WeightsError: where there are no weights, or they are damaged.
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
            # Where it was lost, the rest can still be told.
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
    # Orbax has errors of many kinds for metadata that is damaged.
    except Exception as error:
        raise WeightsError(f'{folder} is damaged: {error}') from error
    return found


def changed_values(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values of a configuration that are not the default, and the default; None where is none."""
    from snnjax.train.config import default_config, flatten

    defaults = flatten(default_config().to_dict())
    return {
        key: [value, defaults.get(key)]
        for key, value in flatten(config).items()
        if value != defaults.get(key)
    }


def list_checkpoints(directory: Path) -> list[dict[str, Any]]:
    """The checkpoints of a run, oldest first.

    Args:
      directory: of the checkpoints.

    Returns:
      Of each ``step``, ``bytes`` on disk, ``evaluation`` (None where it has none), and whether it
      is the ``newest`` and the ``best``.
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
    """What `inspect` gives, as text.

    Args:
      found: see there.
      every: whether to list every array.
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
    return _section('configuration, where it is not the default', rows)


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
    """A row for each block, in the order of the network."""
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
    """A row for each part of the state that is not the parameters."""
    parameters = {name.partition('/')[2] for name in arrays if name.startswith('params/')}
    parts: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for name, array in arrays.items():
        kind, _, place = name.partition('/')
        if kind == 'opt_state':
            # What the optimiser has for every parameter counts as one.
            ends = (place[i + 1 :] for i, letter in enumerate(place) if letter == '/')
            end = next((end for end in ends if end in parameters), '')
            parts[f'optimiser {place.removesuffix(f"/{end}")}'].append(array)
        elif kind != 'params':
            parts[kind].append(array)
    rows = [(name, f'{_size(part):,}', _dtypes(part)) for name, part in sorted(parts.items())]
    return _section('beside them', rows)


def _starts(starts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for start in starts:
        devices = collections.Counter(start.get('devices', []))
        # An installed package has no commit; runs from before it was written have no version.
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
    """A title, and rows under it with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return '\n'.join([title, *(f'  {line}' for line in lines)])


if __name__ == '__main__':
    sys.exit(main())
