"""Makes one page of a run: learning curves, firing rates, energy, similarity, confusion matrix.

  python -m snnjax.tools.report runs/cifar10
  python -m snnjax.tools.report runs/cifar10 --images=1000 --out=report.html

The page holds its figures in itself: it can be moved, sent, and read without a network. It is
written to report.html in the work directory where --out says nothing else.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from snnjax.analysis import figures
from snnjax.analysis.activity import Activity, measure_activity
from snnjax.analysis.energy import SCOPE, estimate_energy
from snnjax.analysis.runs import mean_test_accuracy
from snnjax.analysis.similarity import Similarity, measure_similarity
from snnjax.analysis.trained import Trained, UnsuitableModelError, open_trained
from snnjax.tools.weights_arguments import add_data_arguments, data_changes, run
from snnjax.train.state import count_parameters
from snnjax.train.writers import read_metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('workdir', help='of a run')
    parser.add_argument('--images', type=int, default=0, help='of the test images; default: all')
    parser.add_argument('--out', type=Path, help='default: report.html in the work directory')
    add_data_arguments(parser)
    return run(_report, parser.parse_args(argv))


def _report(args: argparse.Namespace) -> None:
    workdir = Path(args.workdir).expanduser()
    trained = open_trained(args.workdir, data_changes(args), images=args.images)
    out = args.out or workdir / 'report.html'
    out.write_text(make_page(workdir, trained))
    print(f'report: {out}')


def make_page(workdir: Path, trained: Trained) -> str:
    """The page of a run, HTML.

    Args:
      workdir: of the run, for its metrics, configuration and environment.
      trained: the model that it trained, and the images to look at it on.
    """
    activity = measure_activity(trained)
    energy = estimate_energy(trained, activity)
    records = read_metrics(workdir)
    name = trained.config.model.name
    sections = [
        _overview(workdir, records, trained, activity),
        _section(
            'Learning curves',
            _figure(
                'learning curves',
                lambda file: figures.save_learning_curves(records, file),
            ),
        ),
        *_gradient_norms(records),
        _firing_rates(activity),
        _energy(energy),
        _similarity(name, trained),
        _section(
            'Confusion',
            _figure(
                'confusion matrix', lambda file: figures.save_confusion(activity.confusion, file)
            ),
        ),
        _configuration(workdir),
    ]
    return _PAGE.format(title=html.escape(f'{name}, {workdir.name}'), body='\n'.join(sections))


def _overview(
    workdir: Path, records: Sequence[dict[str, Any]], trained: Trained, activity: Activity
) -> str:
    mean, evaluations = mean_test_accuracy(records)
    environment = json.loads((workdir / 'environment.jsonl').read_text().splitlines()[-1])
    facts = {
        'model': f'{trained.config.model.name}, {trained.num_steps} time steps',
        'parameters': f'{count_parameters(trained.variables["params"]):,}',
        'measured on': trained.describe().partition('; ')[2],
        'accuracy': f'{activity.accuracy:.2%}',
        _of_last(evaluations): f'{mean:.2%}',
        'firing rate': f'{activity.firing_rate:.4f}',
        'trained to': f'epoch {records[-1]["epoch"]:g}, step {records[-1]["step"]:,}',
        'trained on': ', '.join(environment['devices']),
        'commit': environment['commit'] or 'unknown',
    }
    return _table(['', ''], facts.items())


def _of_last(evaluations: int) -> str:
    if evaluations == 1:
        return 'test accuracy of the run itself'
    return f'test accuracy of the run itself, mean of the last {evaluations} evaluations'


def _gradient_norms(records: Sequence[dict[str, Any]]) -> list[str]:
    """A section, for a run that wrote them."""
    written = {name for record in records for name in record}
    if not any(name.startswith('train/gradient_norm/stage') for name in written):
        return []

    def save(file: Any) -> None:
        figures.save_gradient_norms(records, file)

    return [_section('Gradient norms', _figure('gradient norms by block', save))]


def _firing_rates(activity: Activity) -> str:
    rows = [
        (
            layer.name,
            f'{layer.spikes.size:,}',
            f'{layer.firing_rate:.4f}',
            f'{layer.dead:,}',
            f'{layer.saturated:,}',
        )
        for layer in activity.neurons
    ]
    return _section(
        'Firing rates',
        '<p>Spikes of a neuron in a time step, mean of the layer. Dead neurons fired for no image, '
        'saturated ones in every time step of every image.</p>',
        _figure(
            'firing rates by layer',
            lambda file: figures.save_firing_rates(activity.neurons, activity.images, file),
        ),
        _details('all layers', ['layer', 'neurons', 'rate', 'dead', 'saturated'], rows),
    )


def _energy(energy: dict[str, Any]) -> str:
    paper, layers = energy['energy_by_mean_rate'], energy['energy_by_layer']

    def row(what: str, operations: str, joules: float, ann: float) -> tuple[str, ...]:
        return what, operations, f'{1e6 * joules:.2f}', f'{ann / joules:.2f}'

    once, every = layers['once'], layers['every_step']
    rows = [
        row(
            'what the paper counts, at the mean rate',
            f'{paper["syops"] / 1e6:.2f} M SyOPs',
            paper['snn_joules'],
            paper['ann_joules'],
        )
    ] + [
        row(
            f'every layer, at its own rate; the constant stem {when}',
            f'{sums["acs"] / 1e6:.2f} M ACs, {sums["macs"] / 1e6:.2f} M MACs',
            sums['snn_joules'],
            layers['ann_joules'],
        )
        for when, sums in (('once', once), ('at every step', every))
    ]
    of_layers = [
        (
            layer['name'],
            layer['input'],
            f'{layer["input_rate"]:.4f}',
            f'{1e6 * layer["joules"]:.3f}',
        )
        for layer in energy['layers']
    ]
    return _section(
        'Energy',
        f'<p>Of the operations for an image, 45 nm: 4.6 pJ a MAC, 0.9 pJ an AC. {SCOPE}.</p>',
        _table(['what is counted', 'operations', 'energy (µJ)', 'an ANN takes, times'], rows),
        _figure('energy by layer', lambda file: figures.save_layer_energy(energy, file)),
        _details('all layers', ['layer', 'sees', 'share not zero', 'energy (µJ)'], of_layers),
    )


def _similarity(name: str, trained: Trained) -> str:
    try:
        blocks = measure_similarity(trained)
    except UnsuitableModelError as error:
        return _section('Similarity of blocks', f'<p>{html.escape(str(error))}.</p>')

    def cells(block: Similarity) -> tuple[str, ...]:
        if block.mean is None or block.identical is None:
            return block.block, 'another resolution', ''
        return block.block, f'{block.mean:.4f}', f'{block.identical:.1%}'

    unchanged = sum(block.unchanged for block in blocks)
    return _section(
        'Similarity of blocks',
        '<p>SSIM of the firing rates before and after each block (equation 9 of the paper); '
        f'{unchanged} of {len(blocks)} blocks leave all rates as they are.</p>',
        _figure(
            'similarity by block',
            lambda file: figures.save_similarity({name: blocks}, len(trained.examples), file),
        ),
        _details('all blocks', ['block', 'SSIM', 'images without change'], map(cells, blocks)),
    )


def _configuration(workdir: Path) -> str:
    text = html.escape((workdir / 'config.json').read_text())
    body = f'<details><summary>config.json</summary><pre>{text}</pre></details>'
    return _section('Configuration', body)


def _section(title: str, *parts: str) -> str:
    return '\n'.join([f'<section><h2>{title}</h2>', *parts, '</section>'])


def _figure(title: str, save: Callable[[Any], None]) -> str:
    file = io.BytesIO()
    try:
        save(file)
    except ImportError:
        return "<p>No figure: it needs matplotlib, pip install 'snnjax[plots]'.</p>"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{title}" src="data:image/png;base64,{data}">'


def _details(summary: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f'<details><summary>{summary}</summary>{_table(header, rows)}</details>'


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{html.escape(c)}</{tag}>' for c in cells) + '</tr>'

    head = row(header, 'th') if any(header) else ''
    return '<table>' + head + '\n'.join(row(cells, 'td') for cells in rows) + '</table>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
img {{ max-width: 100%; max-height: 36rem; }}
table {{ border-collapse: collapse; margin: 0.5rem 0; }}
td, th {{ text-align: left; padding: 0.15rem 1.2rem 0.15rem 0; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; }}
summary {{ cursor: pointer; }} pre {{ font-size: 12px; overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""

if __name__ == '__main__':
    sys.exit(main())
