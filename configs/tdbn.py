"""ResNets with threshold-dependent batch normalization (tdBN, Zheng et al. 2021).

python -m snnjax.main --config=configs/tdbn.py --workdir=runs/tdbn19
python -m snnjax.main --config=configs/tdbn.py:network=tdbn_resnet50 --workdir=runs/tdbn50

The networks have 19 layers for CIFAR-10, and 34 or 50 for ImageNet. The architecture and the six
time steps are those of the authors. The optimizer and the augmentation are those of
``configs/cifar10.py``, or of ``configs/imagenet.py`` for 34 and 50 layers. Table 3 reports 67.05 %
on ImageNet for the wide ``tdbn_resnet34x2`` and 64.88 % for ``tdbn_resnet50``.
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
    """Returns the configuration.

    Args:
      network: the network, a key of `BASES`.
      num_steps: the number of time steps T.
    """
    base, recipe = choose('network', network, BASES)
    config = base.get_config(recipe=recipe)
    config.model.name = network
    config.model.num_steps = num_steps
    return config
