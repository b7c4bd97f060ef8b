"""ResNets with the normalisation of Zheng et al. 2021 (tdBN): 19 layers for CIFAR-10, 34 and 50.

python -m snnjax.main --config=configs/tdbn.py --workdir=runs/tdbn19
python -m snnjax.main --config=configs/tdbn.py:network=tdbn_resnet50 --workdir=runs/tdbn50

The structure and six time steps are theirs; the optimiser and the augmentation are those of
``configs/cifar10.py`` and, for 34 and 50 layers, of ``configs/imagenet.py``. On ImageNet table 3
has 67.05 % for the wide ``tdbn_resnet34x2`` and 64.88 % for ``tdbn_resnet50``.
"""

import cifar10
import imagenet

from snnjax.train.config import choose

BASES = {
    'tdbn_resnet19': (cifar10, 'authors'),
    'tdbn_resnet34': (imagenet, 'paper_arxiv'),
    'tdbn_resnet34x2': (imagenet, 'paper_arxiv'),
    'tdbn_resnet50': (imagenet, 'paper_arxiv'),
}


def get_config(network='tdbn_resnet19', num_steps=6):
    """Arguments: ``network``, one of `BASES`, and ``num_steps``."""
    base, recipe = choose('network', network, BASES)
    config = base.get_config(recipe=recipe)
    config.model.name = network
    config.model.num_steps = num_steps
    return config
