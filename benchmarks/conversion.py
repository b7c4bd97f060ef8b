r"""Compares the simulation of a converted network with SpikingJelly's on the same CPU.

  python benchmarks/conversion.py --steps 32 256 --batch_size 16 --rounds 5

Needs the extra ``bench``. Both convert a ReLU ResNet20 (He et al. 2016) with random weights, by the
maximum of its activations on the same images, and simulate one batch. They take turns, one round
each after an untimed warm-up round, so that other work on the machine affects both alike. Printed
are the medians in seconds, their ratios, and the range of the ratios of single rounds.

SpikingJelly's network runs step by step, as its guide shows, and in its multi-step mode.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snnjax import create_model
from snnjax.conversion import Ann, Batch, Calibration, convert, simulate


def ours(images: np.ndarray) -> Callable[[int], Any]:
    """Returns a function that simulates the images for a number of time steps."""
    model = create_model('relu_resnet20')
    x = jnp.asarray(images)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    batch = Batch(x, np.zeros(len(x), int), np.ones(len(x), bool))
    ann = Ann(model, variables, images.shape[1:])
    calibration = Calibration(lambda: iter([batch]), len(x))
    found = convert(ann, 'rueckauer', calibration, num_steps=32, percentile=100)
    return lambda steps: simulate(found.model, found.variables, x, steps).logits


def theirs(images: np.ndarray, *, multi_step: bool) -> Callable[[int], Any]:
    """Returns the same function for SpikingJelly."""
    import torch
    from spikingjelly.activation_based import ann2snn, functional
    from spikingjelly.activation_based.ann2snn import recipes
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
            self.bn1, self.relu1 = nn.BatchNorm2d(width), nn.ReLU()
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2, self.relu2 = nn.BatchNorm2d(width), nn.ReLU()
            self.shortcut = nn.Identity()
            if stride > 1:
                conv = nn.Conv2d(before, width, 1, stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

        def forward(self, x: Any) -> Any:
            y = self.relu1(self.bn1(self.conv1(x)))
            return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))

    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    widths = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1)]
    widths += [(32, 64, 2), (64, 64, 1), (64, 64, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    ann = nn.Sequential(*stem, *(Block(*width) for width in widths), *head).eval()
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    loader = [(x, torch.zeros(len(x)))]
    recipe = recipes.RateCodingRecipe(dataloader=loader, mode='max')
    snn = ann2snn.Converter(recipe).convert(ann).eval()
    if multi_step:
        functional.set_step_mode(snn, 'm')

    def run(steps: int) -> Any:
        functional.reset_net(snn)
        with torch.no_grad():
            if multi_step:
                return snn(x.expand(steps, *x.shape)).mean(0)
            return sum(snn(x) for _ in range(steps)) / steps

    return run


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--steps', type=int, nargs='+', default=[32, 256])
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    images = np.random.default_rng(0).normal(size=(args.batch_size, 32, 32, 3)).astype(np.float32)
    peers = {
        'spikingjelly, step by step': theirs(images, multi_step=False),
        'spikingjelly, multi-step': theirs(images, multi_step=True),
    }
    runs = {'snnjax': ours(images), **peers}
    for steps in args.steps:
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds + 1):
            for name, run in runs.items():
                begun = time.perf_counter()
                run(steps)
                seconds[name].append(time.perf_counter() - begun)
        timed = {name: values[1:] for name, values in seconds.items()}
        medians = {name: statistics.median(values) for name, values in timed.items()}
        print(f'T={steps}, {args.batch_size} images: snnjax {medians["snnjax"]:.2f} s', flush=True)
        for name in peers:
            ratios = [b / a for a, b in zip(timed['snnjax'], timed[name], strict=True)]
            print(
                f'  {name} {medians[name]:.2f} s: {medians[name] / medians["snnjax"]:.2f} times as '
                f'long by medians; by rounds {min(ratios):.2f} to {max(ratios):.2f}'
            )


if __name__ == '__main__':
    main()
