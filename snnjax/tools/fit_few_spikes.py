r"""Fits the coefficients of few-spike neurons to an activation (Stöckl and Maass 2021).

  python -m snnjax.tools.fit_few_spikes --function=swish --json=swish.json
  python -m snnjax.tools.fit_few_spikes --function=sigmoid --starts=60

These two commands found the coefficients in the package, in a few minutes of one CPU core each. The
command also prints the error of the coefficients in the paper's code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnjax.errors import ConfigError
from snnjax.tools.command_line import add_json_argument, new_parser, parse_and_run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument(
        '--function', required=True, choices=['swish', 'sigmoid'], help='activation to fit'
    )
    parser.add_argument(
        '--starts', type=int, default=100, help='number of random starts; default 100'
    )
    parser.add_argument(
        '--steps', type=int, default=5000, help='optimizer steps per start; default 5000'
    )
    parser.add_argument(
        '--refine_steps',
        type=int,
        default=20_000,
        help='further optimizer steps for each of the ten best starts; default 20000',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the starts; default 0')
    add_json_argument(parser)
    return parse_and_run(_fit, parser, argv)


def _fit(args: argparse.Namespace) -> None:
    import numpy as np

    from snnjax.conversion.few_spike_fitting import FitOptions, fit_few_spikes, mean_squared_error
    from snnjax.neurons.few_spikes import PUBLISHED_SIGMOID, PUBLISHED_SWISH

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    function, published, low, high = {
        'swish': (lambda x: x * sigmoid(x), PUBLISHED_SWISH, -8.0, 12.0),
        'sigmoid': (sigmoid, PUBLISHED_SIGMOID, -10.0, 10.0),
    }[args.function]
    options = FitOptions(
        low,
        high,
        starts=args.starts,
        steps=args.steps,
        refine_steps=args.refine_steps,
        seed=args.seed,
    )
    try:
        coefficients, error = fit_few_spikes(
            function, published.num_steps, options, lambda line: print(line, flush=True)
        )
    except ValueError as problem:
        raise ConfigError(str(problem)) from problem
    theirs = mean_squared_error(function, published, options)
    print(f'mean squared error on [{low:g}, {high:g}]: {error:.6f}; paper: {theirs:.6f}')
    found = {name: list(values) for name, values in coefficients._asdict().items()}
    for name, values in found.items():
        print(f'{name}: {", ".join(f"{value:.8g}" for value in values)}')
    if args.json:
        args.json.write({**found, 'mean_squared_error': error, 'published_error': theirs})


if __name__ == '__main__':
    sys.exit(main())
