r"""Accuracy by depth of four families of networks on CIFAR-10 (table 2, figure 3).

python -m snnjax.tools.sweep --config=configs/depth_analysis.py --workdir=runs/depth_analysis

This command trains all of table 2 as the paper does: 24 networks, a hundred epochs each. The
setting 'cpu', for two CPU cores, trains each for one epoch (results in ``docs/results``):

python -m snnjax.tools.sweep --config=configs/depth_analysis.py:setting=cpu,seeds=0+1 \
    --workdir=runs/depth_analysis_cpu

Training of one of them alone:

python -m snnjax.main --config=configs/depth_analysis.py:family=plain_net,depth=44 --workdir=runs/x
"""

import cifar10

from snnjax.train.config import choose

SETTINGS = {
    # Appendix B.2, with the momentum and flips that the authors add. The paper does not state T.
    'paper': {'num_steps': 4, 'epochs': 100, 'batch_size': 100, 'learning_rate': 0.1},
    # 1,000 steps. The learning rate is lower for the smaller batch.
    'cpu': {'num_steps': 2, 'epochs': 1, 'batch_size': 50, 'learning_rate': 0.05},
}
FAMILIES = ('plain_net', 'vanilla_resnet', 'wo_lif_resnet', 'ms_resnet')
DEPTHS = {'paper': '8+14+20+32+44+56', 'cpu': '8+20+44+56'}


def get_config(family='ms_resnet', depth=20, seed=0, setting='paper'):
    """Returns the configuration of one network.

    Args:
      family: the family of models, one of `FAMILIES`.
      depth: the number of layers, 6n + 2.
      seed: the seed of weights and batches.
      setting: the setting, a key of `SETTINGS`.
    """
    chosen = choose('setting', setting, SETTINGS)
    config = cifar10.get_config(family=family, depth=depth, num_steps=chosen['num_steps'])
    config.seed = seed
    config.epochs = chosen['epochs']
    config.batch_size = chosen['batch_size']
    config.optimizer.learning_rate = chosen['learning_rate']
    return config


def get_runs(families='', depths='', seeds='0', setting='paper'):
    """Returns the arguments of ``get_config`` by the name of the run, shallow networks first.

    Args:
      families: the families, separated by ``+``; '' for all of `FAMILIES`.
      depths: the depths, separated by ``+``; '' for those of `DEPTHS`.
      seeds: the seeds, separated by ``+``.
      setting: the setting, a key of `SETTINGS`.
    """
    depths = depths or choose('setting', setting, DEPTHS)
    return {
        f'{family}{depth}_seed{seed}': (
            f'family={family},depth={depth},seed={seed},setting={setting}'
        )
        for seed in seeds.split('+')
        for depth in depths.split('+')
        for family in (families.split('+') if families else FAMILIES)
    }
