"""Configurations and results of runs, and tables with one row per run."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.analysis.outputs import write_output
from snnjax.analysis.tables import markdown_table
from snnjax.errors import UserError
from snnjax.models.params import forward_order, is_in_stage
from snnjax.models.registry import family_and_depth
from snnjax.paths import in_bucket
from snnjax.train.metric_writer import read_lines, read_metrics
from snnjax.train.run_directory import read_config


class RunError(UserError, ValueError):
    """A run or a table of runs is incomplete or invalid; the message says why."""


def mean_test_accuracy(records: Iterable[Mapping[str, Any]]) -> tuple[float, int]:
    """Returns the test accuracy averaged over the last five evaluations, as in the paper.

    Only evaluations of the last training phase count.

    Args:
      records: the lines of ``metrics.jsonl``.

    Returns:
      The mean accuracy, and the number of evaluations that it is averaged over.

    Raises:
      RunError: if there was no evaluation.
    """
    accuracies: list[float] = []
    for record in records:
        if 'eval/accuracy' in record:
            accuracies.append(record['eval/accuracy'])
        if 'extended/accuracy' in record:
            accuracies = []  # The evaluations so far belong to an earlier phase.
    if not accuracies:
        raise RunError('no evaluation among the metrics: wait for the first evaluation of the run')
    last = accuracies[-5:]
    return statistics.fmean(last), len(last)


def summarize_run(workdir: Path) -> dict[str, Any]:
    """Returns the configuration and the results of a finished run as a row of a table.

    Returns:
      A row with ``family``, ``depth``, ``num_steps``, ``data``, ``epochs``, ``batch_size``,
      ``seed``, ``images`` (the number of training images, repetitions included), ``accuracy`` and
      ``evaluations`` (see `mean_test_accuracy`), ``train_accuracy`` and ``firing_rate`` (the last
      recorded ones), ``images_per_second`` (the median) and ``commit``. A value that the run did
      not record is None.

    Raises:
      RunError: if the run has no configuration or no evaluation.
      ConfigError: if the configuration is damaged.
    """
    config = read_config(workdir)
    if config is None:
        raise RunError(f'{workdir} has no config.json: give the work directory of a run')
    records = read_metrics(workdir)
    accuracy, evaluations = mean_test_accuracy(records)
    training = [record for record in records if 'train/accuracy' in record]
    speeds = [record['time/images_per_second'] for record in training]
    rates = [record['eval/firing_rate'] for record in records if 'eval/firing_rate' in record]
    family, depth = family_and_depth(config['model']['name'])
    starts = read_lines(workdir / 'environment.jsonl')
    return {
        'family': family,
        'depth': depth,
        'num_steps': config['model']['num_steps'],
        'data': config['data']['name'],
        'epochs': config['epochs'],
        'batch_size': config['batch_size'],
        'seed': config['seed'],
        'images': records[-1]['step'] * config['batch_size'],
        'accuracy': round(accuracy, 6),
        'evaluations': evaluations,
        'train_accuracy': round(training[-1]['train/accuracy'], 6) if training else None,
        'firing_rate': round(rates[-1], 6) if rates else None,
        'images_per_second': round(statistics.median(speeds), 1) if speeds else None,
        'commit': starts[-1].get('commit') if starts else None,
    }


# Columns that are read as text, because a commit or a folder name may look like a number.
_TEXT = frozenset(
    'run arguments family model data commit weights split image_shape file name class'.split()
)
# Characters that start a formula in a spreadsheet, and the quote that marks a cell as text.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a CSV file and converts numbers; returns no rows if the file is missing.

    Raises:
      RunError: if the file is not a valid CSV table.
    """
    return [
        {key: _to_text(cell) if key in _TEXT else _to_number(cell) for key, cell in row.items()}
        for row in _read_cells(path)[1]
    ]


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Reads the table of a sweep with `read_table` and checks that each row names its run.

    Raises:
      RunError: if a row names no run, or the file is not a valid CSV table.
    """
    rows = read_table(path)
    for number, row in enumerate(rows, start=1):
        if not row.get('run'):
            raise RunError(f'{path}: row {number} names no run: fill in its column "run"')
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV file atomically; its columns are the keys of all rows.

    Text that a spreadsheet would run as a formula is prefixed with ``'``; `read_table` removes the
    prefix.
    """
    _write_cells(path, [_to_cells(row) for row in rows])


def add_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row to a CSV file, creating the file and missing columns as needed.

    Existing rows are kept as they are. Several processes may append to the same file.

    Raises:
      RunError: if the file is not a valid CSV table, or is in a bucket, which has no locks.
    """
    if in_bucket(path):
        raise RunError(f'{path} is in a bucket, where no rows are added: name a local file')
    with _locked(path):
        columns, rows = _read_cells(path)
        _write_cells(path, [*rows, _to_cells(row)], columns)


def _read_cells(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns and the rows of a table; both are empty if there is no file."""
    if not path.is_file() or path == Path('/dev/stdout'):
        return [], []
    try:
        # utf-8-sig skips the byte order mark that spreadsheets may write.
        text = path.read_bytes().decode('utf-8-sig', errors='surrogateescape')
        reader = csv.DictReader(io.StringIO(text, newline=''), restval='', strict=True)
        rows, columns = list(reader), list(reader.fieldnames or [])
    except csv.Error as error:
        raise RunError(f'{path} is not a CSV file: {error}') from error
    if len(set(columns)) < len(columns):
        raise RunError(f'{path} has two columns of the same name: give another file')
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise RunError(f'{path}: row {number} has more cells than the header: correct it')
    return columns, rows


def _write_cells(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()
) -> None:
    text = io.StringIO()
    columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    # The csv writer quotes a cell with a carriage return only if its line terminator has one.
    returns = any('\r' in str(cell) for row in rows for cell in row.values())
    end = '\r\n' if returns else '\n'
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    write_output(path, text.getvalue())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks a file for this process and creates it if it is missing."""
    if path.exists() and not path.is_file():
        yield  # A device or a pipe.
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open('ab') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
            # If the previous holder replaced the file, this lock is on the old one: try again.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                yield
                return


def _to_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for key, value in row.items()
    }


def _to_text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _to_number(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return _to_text(cell)


def accuracies_by_depth(
    rows: Iterable[Mapping[str, Any]],
) -> dict[str, dict[int, list[float]]]:
    """Groups test accuracies in percent by family and depth, one per seed."""
    table: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        of_family = table.setdefault(row['family'], {})
        of_family.setdefault(row['depth'], []).append(100 * row['accuracy'])
    return table


def depth_table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Returns table 2 in Markdown: test accuracy in percent by family and depth.

    Several seeds are averaged; their mean is followed by ± and the standard deviation.

    Args:
      rows: the rows of a sweep; `summarize_run` makes them.
      width: the largest width in characters, as `markdown_table` takes it.
    """
    table = accuracies_by_depth(rows)
    depths = sorted({depth for of_family in table.values() for depth in of_family})
    lines = [
        [f'`{family}`', *(mean_and_deviation(of_family.get(depth, [])) for depth in depths)]
        for family, of_family in table.items()
    ]
    return markdown_table(['depth', *map(str, depths)], lines, width=width)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Returns the mean as text, followed by ± and the standard deviation of several values."""
    if not values:
        return ''
    mean = f'{statistics.fmean(values):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {statistics.stdev(values):.1f}'


def mean_of(rows: Sequence[Mapping[str, Any]], key: str, unit: float) -> float:
    """Returns the mean of a column over rows, divided by a unit."""
    return statistics.fmean(row[key] for row in rows) / unit


def by_network(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Groups rows by network, the part of the ``run`` name before ``_seed``."""
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        networks.setdefault(row['run'].partition('_seed')[0], []).append(row)
    return networks


def norms_by_block(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the gradient norms in a line of ``metrics.jsonl`` by block, in network order.

    The stem and the classifier are left out.
    """
    prefix = 'train/gradient_norm/'
    norms = {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix) and is_in_stage(name.removeprefix(prefix))
    }
    # An alphabetical order would put block 10 before block 9.
    return {block: norms[block] for block in sorted(norms, key=forward_order)}
