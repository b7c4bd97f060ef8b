"""Photos per second of a core: our decoding and augmentation compared with torchvision's.

pip install '.[bench]'
python benchmarks/input_pipeline.py
python benchmarks/input_pipeline.py --dataset=imagenette --data_dir=~/snnjax_data --json=out.json

Without a data set, the photos are synthetic and have the size of ImageNet's. Every program gets the
same encoded bytes on one thread of one process, and returns uint8 pixels of 224x224. The
augmentation is a random crop of at least 8 % of the area and a random flip, with and without
ImageNet's AutoAugment policy. Programs take turns. The output has medians over the rounds, and the
ratio to the faster of torchvision's two pipelines: PIL images (decoded by Pillow) and tensors
(decoded by torchvision.io).
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from snnjax.data.records import Prepared
from snnjax.data.sources.fake_photos import FakePhotos
from snnjax.data.transforms.augment import ImageAugmentation
from snnjax.data.transforms.images import random_resized_crop

SIZE, MIN_SCALE = 224, 0.08

Pipeline = Callable[[bytes, int], object]


def ours(policy: str) -> Pipeline:
    """Returns the pipeline of this library."""
    augment = ImageAugmentation(flip=True, auto_augment=policy)

    def run(data: bytes, seed: int) -> np.ndarray:
        rng = np.random.default_rng((0, 1, seed))
        return augment(random_resized_crop(data, SIZE, rng, MIN_SCALE), rng)

    return run


def torchvision_changes(policy: str, last: list[v2.Transform]) -> v2.Compose:
    """Returns torchvision's transforms, for PIL images or tensors."""
    changes = [
        v2.RandomResizedCrop(SIZE, (MIN_SCALE, 1), antialias=True),
        v2.RandomHorizontalFlip(),
    ]
    if policy:
        changes.append(v2.AutoAugment(v2.AutoAugmentPolicy(policy), fill=128))
    return v2.Compose(changes + last)


def torchvision_pil(policy: str) -> Pipeline:
    """Returns torchvision's pipeline on PIL images, as in its data sets of image folders."""
    changes = torchvision_changes(policy, [v2.PILToTensor()])

    def run(data: bytes, seed: int) -> torch.Tensor:
        del seed
        with PIL.Image.open(io.BytesIO(data)) as image:
            return changes(image.convert('RGB'))

    return run


def torchvision_tensor(policy: str) -> Pipeline:
    """Returns torchvision's pipeline on tensors."""
    changes = torchvision_changes(policy, [])

    def run(data: bytes, seed: int) -> torch.Tensor:
        del seed
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return changes(decode_image(encoded, ImageReadMode.RGB))

    return run


PROGRAMS = {
    'snnjax': ours,
    'torchvision, PIL': torchvision_pil,
    'torchvision, tensors': torchvision_tensor,
}


def read_photos(dataset: str, data_dir: str, count: int) -> list[bytes]:
    """Returns encoded photos, from a prepared data set if one is named."""
    if not dataset:
        records = FakePhotos(count)
    else:
        prepared = Prepared(data_dir, dataset)
        records = prepared.records(next(iter(prepared.sizes)))
    numbers = np.linspace(0, len(records) - 1, min(count, len(records))).astype(int)
    return [example['image'] for example in records.read(numbers)]


def measure(
    programs: dict[str, Pipeline], photos: list[bytes], rounds: int
) -> dict[str, list[float]]:
    """Returns the photos per second of each program and round, without a warm-up round."""
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, run in programs.items():
            start = time.perf_counter()
            for i, photo in enumerate(photos):
                run(photo, number * len(photos) + i)
            if number:
                rates[name].append(len(photos) / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--dataset', default='', help='a prepared data set of photos')
    parser.add_argument('--data_dir', default='~/snnjax_data')
    parser.add_argument('--photos', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', type=Path, help='the output file for the results')
    args = parser.parse_args()
    torch.set_num_threads(1)

    photos = read_photos(args.dataset, args.data_dir, args.photos)
    kilobytes = sum(map(len, photos)) / len(photos) / 1000
    print(
        f'{len(photos)} photos ({args.dataset or "synthetic"}), {kilobytes:.0f} kB on average; '
        f'{args.rounds} rounds; pillow {PIL.__version__}, torchvision {torchvision.__version__}\n'
    )
    print(f'{"":34}{"photos/s":>10}{"lowest":>10}{"highest":>10}{"ratio":>8}')
    results = []
    for policy in ('', 'imagenet'):
        programs = {name: make(policy) for name, make in PROGRAMS.items()}
        rates = measure(programs, photos, args.rounds)
        medians = {name: statistics.median(values) for name, values in rates.items()}
        best_peer = max(value for name, value in medians.items() if name != 'snnjax')
        for name, values in rates.items():
            label = name + (', AutoAugment' if policy else '')
            print(
                f'{label:34}{medians[name]:10.1f}{min(values):10.1f}{max(values):10.1f}'
                f'{medians[name] / best_peer:8.2f}'
            )
            results.append(
                {
                    'program': name,
                    'auto_augment': policy,
                    'photos_per_second': medians[name],
                    'rounds': values,
                    'ratio_to_best_peer': medians[name] / best_peer,
                }
            )
    if args.json:
        about = {
            'dataset': args.dataset,
            'photos': len(photos),
            'mean_bytes': 1000 * kilobytes,
            'processor': platform.processor() or platform.machine(),
            'pillow': PIL.__version__,
            'torchvision': torchvision.__version__,
        }
        args.json.write_text(json.dumps(about | {'results': results}, indent=2) + '\n')


if __name__ == '__main__':
    main()
