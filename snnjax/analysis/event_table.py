"""A comparison of networks on event data sets, as in table 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.analysis.comparison import measure_run
from snnjax.analysis.runs import RunError, read_table
from snnjax.analysis.tables import markdown_table

COLUMNS = (
    *('network', 'dataset', 'split', 'time_steps', 'parameters'),
    *('accuracy', 'energy_mJ', 'images', 'command'),
)


def measure_row(
    weights: Path, network: str, data: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """Measures a trained or converted network and returns a row with the keys of `COLUMNS`.

    Args:
      weights: the work directory or the folder of weights.
      network: the name of the network in the table.
      data: the fields of `snnjax.data.DataOptions` of the run. The data is read from its ``dir``.
      command: the command that made the weights.
    """
    measured = measure_run(weights, data={'dir': data['dir']})
    return {
        'network': network,
        'dataset': data['name'],
        'split': data['split'],
        'time_steps': measured['num_steps'],
        'parameters': measured['parameters'],
        'accuracy': measured['accuracy'],
        'energy_mJ': 1e3 * measured['joules_by_layer'],
        'images': measured['images'],
        'command': command,
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads rows of other systems from a CSV file in the format of `snnjax.tools.dart`.

    The columns are those of `COLUMNS`; ``system`` is read as ``network`` and ``test_recordings`` as
    ``images``. Only ``network``, ``dataset``, ``split`` and ``accuracy`` are required.

    Raises:
      RunError: if the file is missing, or a row lacks a required column.
    """
    if not path.is_file():
        raise RunError(f'{path} does not exist: give a table that snnjax.tools.dart wrote')
    rows = []
    for number, row in enumerate(read_table(path), start=1):
        given = {
            **row,
            'network': row.get('network') or row.get('system'),
            'images': row.get('images') or row.get('test_recordings'),
        }
        for key in ('network', 'dataset', 'split', 'accuracy'):
            if given.get(key) in (None, ''):
                raise RunError(f'{path}: row {number} has no {key}: fill it in')
        rows.append({key: given.get(key) for key in COLUMNS})
    return rows


def event_table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Returns a Markdown table with one row per network and data set.

    Args:
      rows: the rows of `measure_row` and `read_rows`.
      width: the largest width in characters, as `markdown_table` takes it.
    """
    header = ('data set', 'network', 'split', 'T', 'parameters', 'accuracy (%)', 'energy (mJ)')
    lines = []
    for row in rows:
        energy, parameters = row.get('energy_mJ'), row.get('parameters')
        lines.append(
            [
                row['dataset'],
                row['network'],
                row['split'],
                f'{row.get("time_steps") or "-"}',
                f'{parameters:,}' if parameters else '-',
                f'{100 * row["accuracy"]:.1f}',
                f'{energy:.3g}' if energy else '-',
            ]
        )
    return markdown_table(header, lines, left=3, width=width, keys=2)
