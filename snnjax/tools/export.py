"""Writes trained weights in a format that other software reads.

  python -m snnjax.tools.export --weights=runs/cifar10 --format=safetensors --out=cifar10
  python -m snnjax.tools.export --weights=runs/cifar10 --format=stablehlo --out=cifar10.stablehlo
  python -m snnjax.tools.export --weights=runs/cifar10 --format=nir --out=cifar10.nir

safetensors is a folder that `--weights` of all commands and the configuration's `init_from` take:
the variables, and model.json, which says what they are. stablehlo is a program, from pixels as they
are stored to logits, for CPUs, CUDA and TPUs and every batch size, that needs JAX alone:

  from pathlib import Path
  from jax import export
  program = export.deserialize(bytearray(Path('cifar10.stablehlo').read_bytes()))
  logits = program.call(pixels)  # (B, 32, 32, 3) uint8 -> (B, 10) float32

nir is a graph for the simulators and chips that know the Neuromorphic Intermediate Representation;
--for=norse, snntorch or spikingjelly writes one that this software reads.
What is written is read back, run, and compared with the model; a file that differs is not kept.

The sizes of images and their statistics are those of the data set of the training, or of model.json
where it has them. Without the data set, --image_shape, --mean and --std say them.
Needs `pip install 'snnjax[export]'`, for nir `'snnjax[nir]'`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from snnjax.errors import ConfigError, UserError
from snnjax.tools.command_line import new_parser, parse_and_run
from snnjax.tools.paths import folder_name, output_path
from snnjax.tools.weights_arguments import (
    add_checkpoint_argument,
    add_data_arguments,
    data_changes,
)

if TYPE_CHECKING:
    import jax

    from snnjax.export.model_card import ImageFormat
    from snnjax.models import Network
    from snnjax.weights.folder import Variables

# Those of `snnjax.export.nir_graph`, which takes long to import.
READERS = ('norse', 'snntorch', 'spikingjelly')
SECONDS = 0.0001

# What share of spikes, or of the largest logit, may differ: in float32 rounding decides whether one
# neuron or another fires, and in a deep network others follow.
TOLERANCES = {'float64': 0.001, 'float32': 0.1}


class _Weights(NamedTuple):
    """What is exported."""

    source: str
    checkpoint: str
    model: Network
    variables: Variables


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument(
        '--weights',
        type=folder_name,
        required=True,
        metavar='DIR',
        help='a work directory or folder of weights',
    )
    parser.add_argument('--format', required=True, choices=FORMATS)
    parser.add_argument('--out', required=True, type=output_path, help='file or folder to write')
    add_checkpoint_argument(parser)
    parser.add_argument('--num_steps', type=int, help='time steps; default: those of training')
    parser.add_argument(
        '--dt',
        type=float,
        default=SECONDS,
        help=f'of nir: length of a time step in seconds; default {SECONDS:g}',
    )
    parser.add_argument(
        '--for',
        dest='reader',
        default='',
        choices=READERS,
        help='of nir: software that is to read the graph',
    )
    images = parser.add_argument_group('images', 'instead of a data set')
    images.add_argument('--image_shape', type=_numbers(int), metavar='H,W,C')
    images.add_argument('--mean', type=_numbers(float), metavar='R,G,B', help='of stored pixels')
    images.add_argument('--std', type=_numbers(float), metavar='R,G,B', help='of stored pixels')
    add_data_arguments(parser)
    return parse_and_run(_export, parser, argv)


def _export(args: argparse.Namespace) -> None:
    from snnjax.weights.folder import open_weights

    out = args.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f'{out} is there already; remove it or name another')
    if args.num_steps is not None and args.num_steps < 1:
        raise ConfigError(f'--num_steps={args.num_steps} must be at least 1')
    if not args.dt > 0:
        raise ConfigError(f'--dt={args.dt} must be above 0')
    if args.reader and args.format != 'nir':
        raise ConfigError(f'--for={args.reader} is for --format=nir')
    opened = open_weights(args.weights, args.num_steps, args.checkpoint)
    weights = _Weights(args.weights, args.checkpoint, *opened)
    try:
        FORMATS[args.format](args, weights, out)
    except ImportError as error:
        extra = 'nir' if error.name in ('nir', 'h5py') else 'export'
        raise UserError(f"{error}: pip install 'snnjax[{extra}]'") from error


def _export_safetensors(args: argparse.Namespace, weights: _Weights, out: Path) -> None:
    import numpy as np

    from snnjax.analysis.inference import describe_inputs
    from snnjax.analysis.trained import UnsuitableModelError
    from snnjax.data import DatasetNotPreparedError
    from snnjax.export.model_card import make_card
    from snnjax.models.params import by_name
    from snnjax.weights.folder import describe_weights, load_weights, save_safetensors

    name, options = describe_weights(weights.source)
    try:
        images = _images(args, weights)
    except (ConfigError, DatasetNotPreparedError) as error:
        if args.image_shape or data_changes(args):
            raise
        images = None
        print(f'model.json does not say what the images are: {error}')
    if args.num_steps is not None:
        options['num_steps'] = args.num_steps
    inputs = describe_inputs(weights.source, weights.model, data_changes(args)).to_json()
    if images is None or inputs.get('images', {}).get('shape') != list(images.shape):
        inputs.pop('preprocessing', None)
    params = weights.variables['params']
    card = make_card(weights.source, params, images, inputs, weights.checkpoint)
    with _kept_if_right(out) as path:
        save_safetensors(path, weights.variables, name, options, card)
        written, read = by_name(weights.variables), by_name(load_weights(path))
        if not all(np.array_equal(read[key], written[key]) for key in written):
            raise UnsuitableModelError(f'what is read from {out} are other numbers')
    print(f'{out}: {name}, {card["parameters"]:,} parameters; all {len(read)} arrays read back')
    print('the licence in model.json is for you to fill in')


def _export_stablehlo(args: argparse.Namespace, weights: _Weights, out: Path) -> None:
    import jax
    import jax.numpy as jnp

    from snnjax.export.stablehlo import PLATFORMS, read_inference, write_inference
    from snnjax.models import compiler_options
    from snnjax.train.step import normalize

    images = _images(args, weights)

    def infer(variables: Any, pixels: jax.Array) -> Any:
        return weights.model.apply(variables, normalize(pixels, images))

    constants = jax.tree.map(jnp.asarray, weights.variables)
    platform = jax.default_backend()
    with _kept_if_right(out) as path:
        write_inference(path, lambda pixels: infer(constants, pixels), images.shape)
        read, ours = (
            jax.jit(function, compiler_options=compiler_options(platform))
            for function in (read_inference(path), infer)
        )
        for count in (1, 3):
            pixels = images.random(count)
            _compare(f'batch of {count}', read(pixels), ours(weights.variables, pixels))
    shape = ', '.join(map(str, images.shape))
    print(f'{out}: (b, {shape}) uint8 -> logits (b, {weights.model.num_classes}) float32')
    print(f'for {", ".join(PLATFORMS)}; compared on {platform}')


def _export_nir(args: argparse.Namespace, weights: _Weights, out: Path) -> None:
    import jax
    import jax.numpy as jnp
    import nir
    import numpy as np

    from snnjax.analysis.trained import UnsuitableModelError
    from snnjax.export.nir_graph import to_graph
    from snnjax.export.nir_simulation import equal_share, run_model, simulate, to_inputs
    from snnjax.train.step import normalize

    images, model = _images(args, weights), weights.model
    *frames, height, width, _ = images.shape
    if frames:
        model = model.clone(num_steps=frames[0])
    pixels = jax.device_get(normalize(jnp.asarray(images.random(2)), images))
    with _kept_if_right(out) as path:
        # The former to see that it is the same network, the latter to be kept.
        for dtype in ('float64', 'float32'):
            try:
                graph = to_graph(
                    model,
                    weights.variables,
                    (height, width),
                    dt=args.dt,
                    dtype=dtype,
                    reader=args.reader,
                )
            except ValueError as error:
                raise UnsuitableModelError(f'{weights.source}: {error}') from error
            graph.metadata |= {'mean': np.array(images.mean), 'std': np.array(images.std)}
            nir.write(path, graph)
            read = nir.read(path)
            num_steps, dt = read.metadata['num_steps'], read.metadata['dt']
            logits, spikes = run_model(model, weights.variables, pixels.astype(dtype))
            simulated = simulate(read, to_inputs(pixels.astype(dtype), num_steps), dt=dt)
            share = equal_share(simulated.spikes, spikes)
            print(f'{dtype}: {share:.4%} of spikes and silences are those of the model')
            if share < 1 - TOLERANCES[dtype]:
                raise UnsuitableModelError(f'the graph is not the model; {out} is not written')
            _compare(dtype, simulated.output.mean(axis=1).reshape(logits.shape), logits)
    print(f'{out}: {len(graph.nodes)} nodes, {len(graph.edges)} edges, {num_steps} time steps')


FORMATS: dict[str, Callable[[argparse.Namespace, _Weights, Path], None]] = {
    'safetensors': _export_safetensors,
    'stablehlo': _export_stablehlo,
    'nir': _export_nir,
}


def _images(args: argparse.Namespace, weights: _Weights) -> ImageFormat:
    """What images the model takes; see the module."""
    import jax

    from snnjax.analysis.trained import data_as_trained
    from snnjax.export.model_card import ImageFormat, image_format, read_image_format

    given = (args.image_shape, args.mean, args.std)
    if any(given):
        if not all(given):
            raise ConfigError('--image_shape, --mean and --std go together: give all of them')
        images = ImageFormat(*given)
    elif not data_changes(args) and (kept := read_image_format(weights.source)):
        images = kept
        if len(kept.shape) == 4 and weights.model.num_steps:
            shape = (weights.model.num_steps, *kept.shape[1:])
            images = dataclasses.replace(kept, shape=shape)
    else:
        data = data_as_trained(weights.source, data_changes(args))
        images = image_format(data, weights.model.num_steps)
    try:
        pixels = jax.ShapeDtypeStruct((1, *images.shape), 'float32')
        jax.eval_shape(weights.model.apply, weights.variables, pixels)
    except ValueError as error:
        raise ConfigError(f'{weights.source}: {error}') from error
    return images


def _compare(what: str, logits: Any, expected: Any) -> None:
    """Prints how far logits are from the model's; raises UnsuitableModelError for too far."""
    import numpy as np

    from snnjax.analysis.trained import UnsuitableModelError

    difference, largest = np.max(np.abs(logits - expected)), np.max(np.abs(expected))
    print(f'{what}: logits up to {largest:.3g} differ by {difference:.2g} at most')
    if not difference <= TOLERANCES[str(expected.dtype)] * largest:
        raise UnsuitableModelError('the logits are not those of the model; nothing is written')


@contextlib.contextmanager
def _kept_if_right(out: Path) -> Iterator[Path]:
    """Another path to write to, which becomes ``out`` when the context is left without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.name}.') as folder:
        path = Path(folder) / out.name
        yield path
        path.replace(out)


def _numbers(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind(number) for number in text.split(','))

    # What argparse calls it in its messages.
    parse.__name__ = f'list of {kind.__name__}'
    return parse


if __name__ == '__main__':
    sys.exit(main())
