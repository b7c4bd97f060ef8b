"""ResNets with the normalisation of Zheng et al. 2021 (tdBN): 19 layers for CIFAR-10, 34 and 50.

python -m snnjax.main --config=configs/tdbn.py --workdir=runs/tdbn19
python -m snnjax.main --config=configs/tdbn.py:network=tdbn_resnet50 --workdir=runs/tdbn50

The structure and six time steps are theirs; the optimiser and the augmentation are those of
``configs/cifar10.py`` and, for 34 and 50 layers, of ``configs/imagenet.py``. On ImageNet table 3
has 67.05 % for the wide ``tdbn_resnet34x2`` and 64.88 % for ``tdbn_resnet50``.
"""

import runpy
from pathlib import Path

from snnjax.train.config import choose, parse_arguments

BASES = {
    'tdbn_resnet19': 'cifar10',
    'tdbn_resnet34': 'imagenet',
    'tdbn_resnet34x2': 'imagenet',
    'tdbn_resnet50': 'imagenet',
}
ARGUMENTS = {'cifar10': 'recipe=authors', 'imagenet': 'recipe=paper_arxiv'}


def get_config(arguments: str = ''):
    """Arguments: ``network``, one of `BASES`, and ``num_steps``."""
    args = parse_arguments(arguments, network='tdbn_resnet19', num_steps=6)
    base = choose('network', args.network, BASES)
    path = Path(__file__).with_name(f'{base}.py')
    config = runpy.run_path(str(path))['get_config'](ARGUMENTS[base])
    config.model.name = args.network
    config.model.num_steps = args.num_steps
    return config
