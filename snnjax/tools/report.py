"""Writes a report on a run: learning curves, firing rates, energy, similarity, confusion matrix.

  python -m snnjax.tools.report --weights=runs/cifar10
  python -m snnjax.tools.report --weights=runs/cifar10 --images=1000 --out=report.html

The report is a single HTML page with embedded figures, which works offline. The default file is
report.html in the work directory. Sections without data, such as the learning curves of a folder of
weights, are left out.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnjax.paths import in_bucket
from snnjax.spelling import count
from snnjax.tools.command_line import new_parser, parse_and_run
from snnjax.tools.paths import output_file
from snnjax.tools.weights_arguments import (
    add_example_arguments,
    add_weights_argument,
    open_arguments,
)

if TYPE_CHECKING:
    import numpy as np

    from snnjax.analysis.activity import Activity
    from snnjax.analysis.similarity import Similarity
    from snnjax.analysis.trained import ModelOnData


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    add_weights_argument(parser, 'weights')
    parser.add_argument(
        '--out',
        type=output_file,
        metavar='FILE',
        help='HTML file to write; default: report.html in the work directory',
    )
    add_example_arguments(parser)
    return parse_and_run(_report, parser, argv)


def _report(args: argparse.Namespace) -> None:
    from snnjax.analysis.outputs import write_output

    workdir = args.weights
    trained = open_arguments(args)
    default = workdir / 'report.html'
    out = args.out or (default if in_bucket(workdir) else output_file(str(default)))
    print(trained.describe(), flush=True)
    write_output(out, make_page(workdir, trained))
    print(f'report: {out}')


def make_page(workdir: Path, trained: ModelOnData) -> str:
    """Returns the HTML page of a run.

    Args:
      workdir: the work directory of the run, for its metrics, configuration and environment.
      trained: the trained model and the examples to measure it on.
    """
    from snnjax.analysis.activity import measure_activity
    from snnjax.analysis.confusion_figure import save_confusion
    from snnjax.analysis.energy import estimate_energy
    from snnjax.train.metric_writer import read_metrics

    # Damaged files are reported before the slow measurements.
    records = read_metrics(workdir)
    configuration = _configuration(workdir)
    activity = measure_activity(trained)
    energy = estimate_energy(trained, activity)
    name = trained.name
    sections = [
        _overview(workdir, records, trained, activity),
        *_learning_curves(records),
        *_gradient_norms(records),
        _firing_rates(name, activity),
        _energy(name, energy),
        _similarity(name, trained),
        _section(
            'Confusion matrix',
            _figure(
                'confusion matrix',
                lambda file: save_confusion(activity.confusion, file, trained.class_names),
            ),
            _classes(activity.confusion, trained.class_names),
        ),
        *configuration,
    ]
    title = f'{name}, {workdir.absolute().name}'
    return _PAGE.format(title=html.escape(title), body='\n'.join(sections))


def _overview(
    workdir: Path, records: Sequence[dict[str, Any]], trained: ModelOnData, activity: Activity
) -> str:
    from snnjax.analysis.runs import mean_test_accuracy
    from snnjax.train.metric_writer import read_lines
    from snnjax.train.state import count_parameters

    facts = {
        'model': f'{trained.name}, {count(trained.num_steps, "time step")}',
        'parameters': f'{count_parameters(trained.variables["params"]):,}',
        'measured on': trained.describe_examples(),
        'accuracy': f'{activity.accuracy:.2%}',
        'firing rate': f'{activity.firing_rate:.4f}',
    }
    if trained.step is not None:
        facts['checkpoint'] = f'step {trained.step:,}'
    if any('eval/accuracy' in record for record in records):
        mean, evaluations = mean_test_accuracy(records)
        facts[_of_last(evaluations)] = f'{mean:.2%}'
    elif trained.step is not None:
        facts['test accuracy during training'] = 'not evaluated yet'
    if records:
        epoch, step = (records[-1].get(key, math.nan) for key in ('epoch', 'step'))
        facts['trained to'] = f'epoch {epoch:g}, step {step:,}'
    starts = read_lines(workdir / 'environment.jsonl')
    if starts:
        facts['trained on'] = ', '.join(map(str, starts[-1].get('devices', ['unknown'])))
        facts['commit'] = str(starts[-1].get('commit') or 'unknown')
    return _table(['', ''], facts.items())


def _of_last(evaluations: int) -> str:
    if evaluations == 1:
        return 'test accuracy during training'
    return f'test accuracy during training, mean of the last {evaluations} evaluations'


def _learning_curves(records: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a section if the run has metrics, and no section otherwise."""
    if not any(f'{split}/loss' in record for record in records for split in ('train', 'eval')):
        return []

    def save(file: Any) -> None:
        from snnjax.analysis.figures import save_learning_curves

        save_learning_curves(records, file)

    return [_section('Learning curves', _figure('learning curves', save))]


def _gradient_norms(records: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a section if the run recorded gradient norms, and no section otherwise."""
    from snnjax.analysis.runs import norms_by_block

    if not any(map(norms_by_block, records)):
        return []

    def save(file: Any) -> None:
        from snnjax.analysis.figures import save_gradient_norms

        save_gradient_norms(records, file)

    return [_section('Gradient norms', _figure('gradient norms by block', save))]


def _firing_rates(network: str, activity: Activity) -> str:
    from snnjax.analysis.figures import save_firing_rates

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
        '<p>The firing rate is the number of spikes per neuron and time step, averaged over the '
        'layer. Dead neurons never fired; saturated neurons fired at every time step of every '
        'image.</p>',
        _figure(
            'firing rates by layer',
            lambda file: save_firing_rates(activity.neurons, activity.images, file, network),
        ),
        _details('all layers', ['layer', 'neurons', 'firing rate', 'dead', 'saturated'], rows),
    )


def _energy(network: str, energy: dict[str, Any]) -> str:
    from snnjax.analysis.energy import SCOPE, times_less
    from snnjax.analysis.figures import save_layer_energy

    paper, layers = energy['energy_by_mean_rate'], energy['energy_by_layer']

    def row(what: str, operations: str, joules: float, ann: float) -> tuple[str, ...]:
        times = times_less({'ann_joules': ann, 'snn_joules': joules})
        return what, operations, f'{1e6 * joules:.2f}', f'{times:.2f}'

    once, every = layers['once'], layers['every_step']
    rows = [
        row(
            "paper's convention (mean firing rate)",
            f'{paper["syops"] / 1e6:.2f} M SyOPs',
            paper['snn_joules'],
            paper['ann_joules'],
        )
    ] + [
        row(
            f'by layer (own firing rate), constant stem {when}',
            f'{sums["acs"] / 1e6:.2f} M ACs, {sums["macs"] / 1e6:.2f} M MACs',
            sums['snn_joules'],
            layers['ann_joules'],
        )
        for when, sums in (('once', once), ('at every time step', every))
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
        '<p>The estimates are per image, for 45 nm technology: 4.6 pJ per MAC and 0.9 pJ per AC '
        f'({SCOPE}).</p>',
        _table(['estimate', 'operations', 'energy (µJ)', 'ANN energy / SNN energy'], rows),
        _figure('energy by layer', lambda file: save_layer_energy(energy, file, network)),
        _details('all layers', ['layer', 'input', 'nonzero inputs', 'energy (µJ)'], of_layers),
    )


def _similarity(name: str, trained: ModelOnData) -> str:
    from snnjax.analysis.figures import save_similarity
    from snnjax.analysis.similarity import measure_similarity
    from snnjax.analysis.trained import UnsuitableModelError

    try:
        blocks = measure_similarity(trained)
    except UnsuitableModelError as error:
        return _section('Similarity of blocks', f'<p>{html.escape(str(error))}.</p>')

    def cells(block: Similarity) -> tuple[str, ...]:
        if block.mean is None or block.identical is None:
            return block.block, 'changes the resolution', ''
        return block.block, f'{block.mean:.4f}', f'{block.identical:.1%}'

    unchanged = sum(block.unchanged for block in blocks)
    return _section(
        'Similarity of blocks',
        '<p>SSIM of the firing rates before and after each block (equation 9 of the paper); '
        f'blocks that change no firing rate: {unchanged} of {len(blocks)}.</p>',
        _figure(
            'similarity by block',
            lambda file: save_similarity({name: blocks}, len(trained.examples), file),
        ),
        _details('all blocks', ['block', 'SSIM', 'unchanged images'], map(cells, blocks)),
    )


def _classes(confusion: np.ndarray, names: Sequence[str]) -> str:
    """Returns a table of the classes with their images, accuracy and most frequent error."""
    rows = []
    for label, (name, taken_for) in enumerate(zip(names, confusion, strict=True)):
        images, others = int(taken_for.sum()), taken_for.copy()
        others[label] = 0
        right = f'{taken_for[label] / images:.1%}' if images else ''
        rows.append((name, f'{images:,}', right, names[others.argmax()] if others.any() else ''))
    header = ['class', 'images', 'accuracy', 'most frequent error']
    return _details('all classes', header, rows)


def _configuration(workdir: Path) -> list[str]:
    """Returns a section for a run, and no section for a folder of weights."""
    from snnjax.train.run_directory import read_config

    config = read_config(workdir)
    if config is None:
        return []
    text = html.escape(json.dumps(config, indent=2))
    body = f'<details><summary>config.json</summary><pre>{text}</pre></details>'
    return [_section('Configuration', body)]


def _section(title: str, *parts: str) -> str:
    return '\n'.join([f'<section><h2>{title}</h2>', *parts, '</section>'])


def _figure(title: str, save: Callable[[Any], None]) -> str:
    file = io.BytesIO()
    try:
        save(file)
    except ImportError:
        return "<p>Figures need matplotlib: pip install 'snnjax[plots]'.</p>"
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
