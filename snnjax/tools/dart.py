r"""Trains and evaluates DART, a classifier of event recordings without a network.

  python -m snnjax.tools.dart --data.name=nmnist --data.dir=~/snnjax_data --out=dart_nmnist.npz
  python -m snnjax.tools.dart --data.name=cifar10_dvs --data.split=random:0 --stride=10 \
      --noise_filter=5000 --csv=table4.csv
  python -m snnjax.tools.dart --classifier=dart_nmnist.npz --data.name=nmnist

The data set must hold event recordings, prepared by `snnjax.tools.prepare`. The default settings
are those of the authors for the data set (Ramesh et al. 2020) if known, or else those listed below.
--csv adds a row with the split, all settings, the accuracy and the times; --json writes the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from snnjax.dart.options import MODELS, PRESETS, DartOptions
from snnjax.errors import ConfigError
from snnjax.spelling import count
from snnjax.tools.command_line import add_argument, add_json_argument, new_parser, parse_and_run
from snnjax.tools.paths import folder_name, local_path, output_file

if TYPE_CHECKING:
    from snnjax.dart.classifier import DartClassifier, Evaluation
    from snnjax.data import DataOptions
    from snnjax.data.splits import EventSplit

_SECONDS_BETWEEN_LINES = 15
_HELP = {
    'rings': 'number of rings of a descriptor',
    'wedges': 'number of wedges of a descriptor, an even number',
    'inner': 'radius of the innermost ring in pixels',
    'outer': 'radius of the outermost ring in pixels',
    'fifo': 'number of latest events that describe an event',
    'min_events': 'first event to describe, counted from 1',
    'stride': 'distance of described events in the recording; 1 describes each event',
    'noise_filter': 'keep events with a neighbor at most this many microseconds earlier; 0 for all',
    'words': 'number of words of the codebook',
    'codebook_recordings': 'number of training recordings for the codebook',
    'codebook_descriptors': 'largest number of descriptors for the codebook',
    'pca': 'number of principal components of a descriptor; 0 to keep the descriptor',
    'gamma': 'degree of homogeneity of the chi-squared kernel',
    'cost': 'regularization constant C of the support vector machine',
    'trees': 'number of trees of the forest',
    'seed': 'seed of the samples, the codebook and the model',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    data = parser.add_argument_group('data')
    names = {'name': ['--dataset'], 'dir': ['--data_dir'], 'split': []}
    for key, others in names.items():
        kind = folder_name if key == 'dir' else str
        required = key == 'name'
        add_argument(
            data, f'--data.{key}', *others, dest=key, type=kind, metavar='VALUE', required=required
        )
    settings = parser.add_argument_group('settings')
    defaults = {field.name: field.default for field in dataclasses.fields(DartOptions)}
    for key, text in _HELP.items():
        default = defaults[key]
        settings.add_argument(
            f'--{key}', type=type(default), metavar='N', help=f'{text}; default {default}'
        )
    settings.add_argument(
        '--stabilize',
        action=argparse.BooleanOptionalAction,
        help='undo the saccades of N-MNIST and N-Caltech101; default: only for nmnist',
    )
    settings.add_argument(
        '--levels',
        type=_levels,
        metavar='N,N',
        help='cells per side at each level of the spatial pyramid; default 1,2,3',
    )
    settings.add_argument(
        '--model', choices=MODELS, help='classifier of the histograms; default svm'
    )
    parser.add_argument(
        '--classifier',
        type=local_path,
        metavar='FILE',
        help='classifier to evaluate without training',
    )
    parser.add_argument(
        '--out', type=output_file, metavar='FILE', help='.npz file to write the classifier to'
    )
    parser.add_argument(
        '--csv', type=output_file, metavar='FILE', help='table to append the results to'
    )
    add_json_argument(parser)
    return parse_and_run(_dart, parser, argv)


def _levels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} must be integers separated by commas, as 1,2,3'
        ) from None


def _dart(args: argparse.Namespace) -> None:
    given = _given(args)
    if args.classifier and (given or args.out):
        name = next(iter(given), 'out')
        raise ConfigError(f'--{name} is for training: leave it out with --classifier')
    # The options are checked before the data set is opened.
    options = DartOptions(**PRESETS.get(args.name, {}) | given)

    from snnjax.data.datasets import class_names

    data, splits = _open(args)
    times: dict[str, float] = {}
    if args.classifier:
        from snnjax.dart.storage import load_classifier

        classifier = load_classifier(args.classifier)
    else:
        from snnjax.dart.classifier import train

        print(f'{data.name}: {count(len(splits["train"]), "training recording")}', flush=True)
        names = class_names(data) or []
        classifier, times = train(splits['train'], names, options, _watch, _say)
        if args.out:
            from snnjax.analysis.outputs import write_output
            from snnjax.dart.storage import to_bytes

            write_output(args.out, to_bytes(classifier))
    _report(args, data, splits, classifier, times)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(DartOptions)]
    given = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _open(args: argparse.Namespace) -> tuple[DataOptions, dict[str, EventSplit]]:
    """Returns the options of the data and both splits.

    Raises:
      ConfigError: if the data set is unknown, has no such split, or holds no event recordings.
    """
    from snnjax.data import DataOptions, open_dataset
    from snnjax.data.splits import EventSplit

    given = {key: getattr(args, key) for key in ('name', 'dir', 'split')}
    try:
        data = DataOptions(**{key: value for key, value in given.items() if value is not None})
        # DART reads events: no frames are made, so their number does not matter.
        dataset = open_dataset(data, num_steps=1)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    splits = {}
    for name in ('train', 'test'):
        if len(dataset.image_shape) != 4:
            raise ConfigError(
                f'{data.name} holds images: DART needs recordings of an event camera, as nmnist has'
            )
        split = dataset.load(name)
        assert isinstance(split, EventSplit)  # noqa: S101 (only event splits have four dimensions)
        splits[name] = split
    return data, splits


def _say(line: str) -> None:
    print(line, flush=True)


def _watch(numbers: Sequence[int], what: str) -> Iterator[int]:
    """Shows a progress bar in a terminal, and otherwise prints a line every few seconds."""
    from tqdm import tqdm

    shown = time.monotonic()
    for done, number in enumerate(tqdm(numbers, desc=what, unit='recording', disable=None)):
        if not sys.stderr.isatty() and time.monotonic() - shown >= _SECONDS_BETWEEN_LINES:
            _say(f'{what}: {done:,} of {count(len(numbers), "recording")}')
            shown = time.monotonic()
        yield number


def _report(
    args: argparse.Namespace,
    data: DataOptions,
    splits: dict[str, EventSplit],
    classifier: DartClassifier,
    times: dict[str, float],
) -> None:
    from snnjax.dart.classifier import evaluate

    result = evaluate(classifier, splits['test'], _watch)
    _print(result, times)
    row: dict[str, Any] = {
        'system': 'DART',
        'dataset': data.name,
        'split': data.split,
        'train_recordings': len(splits['train']),
        'test_recordings': result.recordings,
        'accuracy': result.accuracy,
        'parameters': classifier.size,
        'undescribed': result.undescribed,
        **{key: round(value, 3) for key, value in times.items()},
        'test_events': result.events,
        'test_seconds': round(result.seconds, 3),
    }
    settings = dataclasses.asdict(classifier.options)
    row |= settings | {'levels': ','.join(map(str, settings['levels']))}
    if args.csv:
        from snnjax.analysis.runs import add_row

        add_row(args.csv, row)
    if args.json:
        args.json.write(row)


def _print(result: Evaluation, times: dict[str, float]) -> None:
    if times:
        events, seconds = times['train_events'], times['histogram_seconds']
        print(f'codebook {times["codebook_seconds"]:9.1f} s')
        print(f'words    {seconds:9.1f} s, {events / seconds:,.0f} events/s')
        print(f'model    {times["model_seconds"]:9.1f} s')
    print(f'test     {result.seconds:9.1f} s, {result.events / result.seconds:,.0f} events/s')
    if result.undescribed:
        print(
            f'note: {count(result.undescribed, "test recording")} had too few events for a '
            'descriptor; a smaller --min_events describes more'
        )
    print(
        f'accuracy {result.accuracy:.4f} ({result.correct:,} of '
        f'{count(result.recordings, "recording")})'
    )


if __name__ == '__main__':
    sys.exit(main())
