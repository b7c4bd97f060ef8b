"""Writes trained weights in a format that other software reads.

  python -m snnjax.tools.export --weights=runs/cifar10 --format=safetensors --out=cifar10
  python -m snnjax.tools.export --weights=runs/cifar10 --format=stablehlo --out=cifar10.stablehlo
  python -m snnjax.tools.export --weights=runs/cifar10 --format=nir --out=cifar10.nir

safetensors: a folder with the variables and model.json, which describes them. `--weights` of all
commands and `init_from` of a configuration take it.

stablehlo: a program from stored pixels to logits, for CPUs, CUDA and TPUs and every batch size. It
needs nothing but JAX:

  from pathlib import Path
  from jax import export
  program = export.deserialize(bytearray(Path('cifar10.stablehlo').read_bytes()))
  logits = program.call(pixels)  # (B, 32, 32, 3) uint8 -> (B, 10) float32

nir: a graph in the Neuromorphic Intermediate Representation for simulators and chips.
--for=norse, --for=snntorch or --for=spikingjelly writes a graph that this software reads.

The export is read back, run and compared with the model; a file that differs is deleted.

The image shape, mean and standard deviation come from model.json, or else from the data set of the
training. Without the data set, give --image_shape, --mean and --std.
The command needs `pip install 'snnjax[export]'`, for nir `'snnjax[nir]'`.
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
from snnjax.spelling import count as counted
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

# The readers are those of `snnjax.export.nir_graph`, which is slow to import.
READERS = ('norse', 'snntorch', 'spikingjelly')
SECONDS = 0.0001

# The largest difference, as a share of spikes and of the largest logit. Rounding in float32 changes
# whether single neurons fire, and in a deep network later layers follow.
TOLERANCES = {'float64': 0.001, 'float32': 0.1}


class _Weights(NamedTuple):
    """The weights to export."""

    source: str
    checkpoint: str
    model: Network
    variables: Variables


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = new_parser(__doc__)
    parser.add_argument(
        '--weights',
        type=folder_name,
        required=True,
        metavar='DIR',
        help='work directory or folder of weights',
    )
    parser.add_argument('--format', required=True, choices=FORMATS, help='format to write')
    parser.add_argument('--out', required=True, type=output_path, help='file or folder to write')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--num_steps', type=int, help='number of time steps; default: that of training'
    )
    parser.add_argument(
        '--dt',
        type=float,
        default=SECONDS,
        help=f'nir: length of a time step in seconds; default {SECONDS:g}',
    )
    parser.add_argument(
        '--for',
        dest='reader',
        default='',
        choices=READERS,
        help='nir: software that will read the graph',
    )
    images = parser.add_argument_group('images', 'format of the images, without a data set')
    images.add_argument(
        '--image_shape', type=_numbers(int), metavar='H,W,C', help='shape of an image'
    )
    images.add_argument(
        '--mean', type=_numbers(float), metavar='R,G,B', help='mean of stored pixels by channel'
    )
    images.add_argument(
        '--std',
        type=_numbers(float),
        metavar='R,G,B',
        help='standard deviation of stored pixels by channel',
    )
    add_data_arguments(parser)
    return parse_and_run(_export, parser, argv)


def _export(args: argparse.Namespace) -> None:
    from snnjax.weights.folder import open_weights

    out = args.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f'{out} already exists: remove it or name another path')
    if args.num_steps is not None and args.num_steps < 1:
        raise ConfigError(f'--num_steps={args.num_steps} must be at least 1')
    if not args.dt > 0:
        raise ConfigError(f'--dt={args.dt} must be above 0')
    if args.reader and args.format != 'nir':
        raise ConfigError(f'--for={args.reader} is for --format=nir only: leave it out')
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
        print(f'model.json will not describe the images: {error}')
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
            raise UnsuitableModelError(
                f'the arrays read back differ from the model; {out} is not written'
            )
    print(f'{out}: {name}, {card["parameters"]:,} parameters; all {len(read)} arrays read back')
    print('model.json names no license: fill in its entry "licence"')


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
            _compare(f'batch of {count}', read(pixels), ours(weights.variables, pixels), out)
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
        # The float64 graph shows that the network is the same; the float32 graph is kept.
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
            print(f'{dtype}: {share:.4%} of spikes and silences agree with the model')
            if share < 1 - TOLERANCES[dtype]:
                raise UnsuitableModelError(
                    f'the spikes of the graph differ from the model; {out} is not written'
                )
            output = simulated.output.mean(axis=1).reshape(logits.shape)
            _compare(dtype, output, logits, out)
    print(
        f'{out}: {counted(len(graph.nodes), "node")}, {counted(len(graph.edges), "edge")}, '
        f'{counted(int(num_steps), "time step")}'
    )


FORMATS: dict[str, Callable[[argparse.Namespace, _Weights, Path], None]] = {
    'safetensors': _export_safetensors,
    'stablehlo': _export_stablehlo,
    'nir': _export_nir,
}


def _images(args: argparse.Namespace, weights: _Weights) -> ImageFormat:
    """Returns the format of the images that the model takes.

    Raises:
      ConfigError: if the format is not known, or the model does not take such images.
      DatasetNotPreparedError: if the data set that defines the format is not prepared.
    """
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


def _compare(what: str, logits: Any, expected: Any, out: Path) -> None:
    """Prints the largest difference of the logits; raises UnsuitableModelError if too large."""
    import numpy as np

    from snnjax.analysis.trained import UnsuitableModelError

    difference, largest = np.max(np.abs(logits - expected)), np.max(np.abs(expected))
    print(f'{what}: logits up to {largest:.3g} differ by at most {difference:.2g}')
    if not difference <= TOLERANCES[str(expected.dtype)] * largest:
        raise UnsuitableModelError(f'the logits differ from the model; {out} is not written')


@contextlib.contextmanager
def _kept_if_right(out: Path) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to ``out`` if the context ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.name}.') as folder:
        path = Path(folder) / out.name
        yield path
        path.replace(out)


def _numbers(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(number) for number in text.split(','))
        except ValueError:
            raise argparse.ArgumentTypeError(
                f'{text!r} must be numbers separated by commas'
            ) from None

    return parse


if __name__ == '__main__':
    sys.exit(main())
