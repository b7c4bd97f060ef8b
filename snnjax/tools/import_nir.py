"""Imports a network from a NIR graph, the exchange format of simulators and chips.

  python -m snnjax.tools.import_nir cifar10.nir --out=weights/cifar10
  python -m snnjax.tools.import_nir theirs.nir --num_steps=4 --dt=0.0001 --out=weights/theirs

The graph must be that of a residual network that snnjax has. Its neurons must have a hard reset and
be the same in all layers; the names of its nodes do not matter. The command finds out the model and
its options and prints them. Graphs of `snnjax.tools.export` hold the number of time steps and their
length; for other graphs, give --num_steps and --dt, in the unit of the graph's `tau`.

Before weights are written, the network and the graph are run on random images and compared. The
folder of weights works with every command. The sizes in the file are checked before the file is
read, and nothing in it is executed. The command needs `pip install 'snnjax[nir]'`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from snnjax.errors import UserError, WeightsError
from snnjax.spelling import count
from snnjax.tools.command_line import new_parser, parse_and_run
from snnjax.tools.paths import local_path, output_path

if TYPE_CHECKING:
    from snnjax.export.nir_reading import ReadNetwork

# The largest difference of logits, as a share of the largest logit.
TOLERANCE = 0.001


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('file', type=local_path, help='file of a NIR graph')
    parser.add_argument('--out', required=True, type=output_path, help='folder to write')
    parser.add_argument(
        '--num_steps', type=int, default=0, help='number of time steps; default: that of the graph'
    )
    parser.add_argument(
        '--dt', type=float, default=0.0, help='length of a time step; default: that of the graph'
    )
    return parse_and_run(_import, parser, argv)


def _import(args: argparse.Namespace) -> None:
    if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
        raise WeightsError(f'{args.out} already exists: remove it or name another folder')
    try:
        from snnjax.export.nir_reading import read_graph, to_network

        graph = read_graph(args.file)
    except ImportError as error:
        raise UserError(f"{error}: pip install 'snnjax[nir]'") from error
    from snnjax.models.params import by_name
    from snnjax.weights.folder import save_weights, write_description

    network = to_network(graph, num_steps=args.num_steps, dt=args.dt)
    _compare(graph, network, args.dt or float(graph.metadata['dt']))
    save_weights(args.out, network.variables, network.name, network.options)
    if images := _image_format(graph, network):
        write_description(args.out, network.name, network.options, {'images': images})
    options = ', '.join(f'{key}={value}' for key, value in network.options.items())
    print(f'{args.file}: {network.name} with {options}')
    print(f'{count(len(by_name(network.variables["params"])), "array")} written to {args.out}')


def _compare(graph: Any, network: ReadNetwork, dt: float) -> None:
    """Raises GraphError if the logits of the network differ from those of the graph."""
    import numpy as np

    from snnjax.export.nir_reading import GraphError
    from snnjax.export.nir_simulation import run_model, simulate, to_inputs

    model = network.model
    shape = (2, *network.image_size, model.in_channels)
    images = np.random.default_rng(0).normal(size=shape)
    logits, _ = run_model(model, network.variables, images)
    simulated = simulate(graph, to_inputs(images, network.options['num_steps']), dt=dt)
    output = simulated.output.mean(axis=1).reshape(logits.shape)
    difference, largest = np.max(np.abs(output - logits)), np.max(np.abs(logits))
    print(f'logits up to {largest:.3g} differ by at most {difference:.2g}')
    if not difference <= TOLERANCE * largest:
        raise GraphError('the logits of the network differ from the graph; nothing is written')


def _image_format(graph: Any, network: ReadNetwork) -> dict[str, Any] | None:
    """Returns the image format that `snnjax.tools.export` wrote to the graph; None if missing."""
    import numpy as np

    metadata = graph.metadata or {}
    if not {'mean', 'std'} <= metadata.keys():
        return None
    mean, std = (np.ravel(metadata[key]).astype(float).tolist() for key in ('mean', 'std'))
    return {'shape': [*network.image_size, len(mean)], 'mean': mean, 'std': std}


if __name__ == '__main__':
    sys.exit(main())
