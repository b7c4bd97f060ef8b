"""What came of runs, in a line each."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnjax.models.registry import family_and_depth
from snnjax.train.files import write_whole
from snnjax.train.writers import read_lines, read_metrics


def mean_test_accuracy(records: Iterable[Mapping[str, Any]]) -> tuple[float, int]:
    """The mean test accuracy of the last five evaluations of the last phase, as the paper has it.

    Args:
      records: lines of ``metrics.jsonl``.

    Returns:
      The mean, and of how many evaluations.

    Raises:
      ValueError: where there was none.
    """
    accuracies: list[float] = []
    for record in records:
        if 'eval/accuracy' in record:
            accuracies.append(record['eval/accuracy'])
        if 'extended/accuracy' in record:
            accuracies = []  # Those of an earlier phase.
    if not accuracies:
        raise ValueError('no evaluation among the metrics: the run has not come to one yet')
    last = accuracies[-5:]
    return statistics.fmean(last), len(last)


def summarise_run(workdir: Path) -> dict[str, Any]:
    """Configuration and outcome of a finished run.

    Returns:
      ``family``, ``depth``, ``num_steps``, ``data``, ``epochs``, ``batch_size``, ``seed``,
      ``images`` (that it was trained on, each as often as it was), ``accuracy`` and ``evaluations``
      (see `mean_test_accuracy`), ``firing_rate``, ``train_accuracy`` (of the last line that has it)
      and ``images_per_second`` (None without such lines), and ``commit``.
    """
    config = json.loads((workdir / 'config.json').read_text())
    environment = read_lines(workdir / 'environment.jsonl')[-1]
    records = read_metrics(workdir)
    accuracy, evaluations = mean_test_accuracy(records)
    training = [record for record in records if 'train/accuracy' in record]
    speeds = [record['time/images_per_second'] for record in training]
    family, depth = family_and_depth(config['model']['name'])
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
        'firing_rate': round(records[-1]['eval/firing_rate'], 6),
        'images_per_second': round(statistics.median(speeds), 1) if speeds else None,
        'commit': environment['commit'],
    }


# Of a commit the first digits may look like a number.
_TEXT = ('run', 'arguments', 'family', 'model', 'data', 'commit')


def read_table(path: Path) -> list[dict[str, Any]]:
    """The lines of a CSV file of runs, numbers as numbers; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline='') as file:
        return [
            {key: text if key in _TEXT else _number(text) for key, text in row.items()}
            for row in csv.DictReader(file)
        ]


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV file, whole or not at all; its columns are the keys of all rows."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


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


def by_network(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows with a ``run``, one a seed, by what its name has before ``_seed``."""
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        networks.setdefault(row['run'].partition('_seed')[0], []).append(row)
    return networks
