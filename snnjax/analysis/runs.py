"""Configurations and outcomes of runs, and tables with a line for each."""

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
from snnjax.errors import UserError
from snnjax.models.params import forward_order, is_in_stage
from snnjax.models.registry import family_and_depth
from snnjax.paths import in_bucket
from snnjax.train.metric_writer import read_lines, read_metrics
from snnjax.train.run_directory import read_config


class RunError(UserError, ValueError):
    """A run, or a table of runs, that lacks what is asked of it; the message says what."""


def mean_test_accuracy(records: Iterable[Mapping[str, Any]]) -> tuple[float, int]:
    """The mean test accuracy of the last five evaluations of the last phase, as the paper has it.

    Args:
      records: lines of ``metrics.jsonl``.

    Returns:
      The mean, and of how many evaluations.

    Raises:
      RunError: if there was none.
    """
    accuracies: list[float] = []
    for record in records:
        if 'eval/accuracy' in record:
            accuracies.append(record['eval/accuracy'])
        if 'extended/accuracy' in record:
            accuracies = []  # Those of an earlier phase.
    if not accuracies:
        raise RunError('no evaluation among the metrics: the run has not come to one yet')
    last = accuracies[-5:]
    return statistics.fmean(last), len(last)


def summarise_run(workdir: Path) -> dict[str, Any]:
    """Configuration and outcome of a finished run.

    Returns:
      ``family``, ``depth``, ``num_steps``, ``data``, ``epochs``, ``batch_size``, ``seed``,
      ``images`` (that it was trained on, each as often as it was), ``accuracy`` and ``evaluations``
      (see `mean_test_accuracy`), ``firing_rate``, ``train_accuracy`` (of the last line that has it)
      and ``images_per_second`` (None without such lines), and ``commit``.

    Raises:
      RunError: for a run without a configuration or an evaluation, or a damaged one.
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


# Columns of text; a commit or the name of a folder may look like a number.
_TEXT = frozenset(
    'run arguments family model data commit weights split image_shape file name class'.split()
)
# What spreadsheets take for the beginning of a formula, and what marks a cell as text there.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a CSV file of runs, numbers as numbers; none if there is no file.

    Raises:
      RunError: for a file that is no such table.
    """
    return [
        {key: _to_text(cell) if key in _TEXT else _to_number(cell) for key, cell in row.items()}
        for row in _read_cells(path)[1]
    ]


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Reads the table of a sweep, in which each line is of a run; see `read_table`.

    Raises:
      RunError: for a line without a run.
    """
    rows = read_table(path)
    for number, row in enumerate(rows, start=1):
        if not row.get('run'):
            raise RunError(f'{path}: row {number} is of no run, it needs a column "run"')
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV file, whole or not at all; its columns are the keys of all rows.

    Text that a spreadsheet would run as a formula gets a ``'`` in front, which `read_table` takes
    away again.
    """
    _write_cells(path, [_to_cells(row) for row in rows])


def add_row(path: Path, row: Mapping[str, Any]) -> None:
    """Adds a line to a CSV file, which is made if it is missing; several processes may do so.

    Columns that the file lacks are added to it; the lines that it has stay as they are.

    Raises:
      RunError: for a file that is no such table, or in a bucket, which has no locks.
    """
    if in_bucket(path):
        raise RunError(f'{path} is in a bucket, where no rows are added: name a local file')
    with _locked(path):
        columns, rows = _read_cells(path)
        _write_cells(path, [*rows, _to_cells(row)], columns)


def _read_cells(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns and the rows of a table; none if there is no file."""
    if not path.is_file() or path == Path('/dev/stdout'):
        return [], []
    try:
        # A spreadsheet may have put a byte order mark in front.
        text = path.read_bytes().decode('utf-8-sig', errors='surrogateescape')
        reader = csv.DictReader(io.StringIO(text, newline=''), restval='', strict=True)
        rows, columns = list(reader), list(reader.fieldnames or [])
    except csv.Error as error:
        raise RunError(f'{path} is no CSV file: {error}') from error
    if len(set(columns)) < len(columns):
        raise RunError(f'{path} has two columns of one name: give another file')
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise RunError(f'{path}: row {number} has more cells than there are columns')
    return columns, rows


def _write_cells(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()
) -> None:
    text = io.StringIO()
    columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    # The writer puts only those ends of lines between quotation marks that it writes itself.
    returns = any('\r' in str(cell) for row in rows for cell in row.values())
    end = '\r\n' if returns else '\n'
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    write_output(path, text.getvalue())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps a file, made if it is missing, to this process while the context lasts."""
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
            # Whoever had the lock before has put a new file in the place of this one.
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
    """Test accuracies in percent, one a seed, by family and depth."""
    table: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        of_family = table.setdefault(row['family'], {})
        of_family.setdefault(row['depth'], []).append(100 * row['accuracy'])
    return table


def depth_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Table 2 in Markdown: test accuracy by family and depth in percent.

    Where there are several seeds, their mean, and the standard deviation behind ±.
    """
    table = accuracies_by_depth(rows)
    depths = sorted({depth for of_family in table.values() for depth in of_family})
    lines = [f'| depth | {" | ".join(map(str, depths))} |', '|---|' + '--:|' * len(depths)]
    for family, of_family in table.items():
        cells = [mean_and_deviation(of_family.get(depth, [])) for depth in depths]
        lines.append(f'| `{family}` | {" | ".join(cells)} |')
    return '\n'.join(lines)


def mean_and_deviation(values: Sequence[float]) -> str:
    """The mean to one digit behind the point, of several values with the deviation behind ±."""
    if not values:
        return ''
    mean = f'{statistics.fmean(values):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {statistics.stdev(values):.1f}'


def mean_of(rows: Sequence[Mapping[str, Any]], key: str, unit: float) -> float:
    """Returns the mean of a number of several rows, in a unit."""
    return statistics.fmean(row[key] for row in rows) / unit


def by_network(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Groups rows with a ``run``, one a seed, by what its name has before ``_seed``."""
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        networks.setdefault(row['run'].partition('_seed')[0], []).append(row)
    return networks


def norms_by_block(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the norms of the gradient in a line of ``metrics.jsonl``, by block in their order.

    Those of the stem and of the classifier are left out.
    """
    prefix = 'train/gradient_norm/'
    norms = {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix) and is_in_stage(name.removeprefix(prefix))
    }
    # Block 10 behind block 9.
    return {block: norms[block] for block in sorted(norms, key=forward_order)}
