r"""Table 4: networks on all prepared event data sets, under one budget.

python -m snnjax.tools.table4 --config=configs/table4.py --workdir=runs/table4 \
    --rows=dart.csv --csv=table4.csv --figure=table4.png

This command trains each network on each data set, converts the rollouts to spiking neurons, and
reports split, time steps, parameters, accuracy and energy. It skips data sets that are not
prepared. In the setting 'cpu', a network takes about four minutes of CPU time on N-MNIST and eight
on the objects (``docs/results``). The setting 'paper' uses each network's own recipe.

Training of one of them alone:

python -m snnjax.main --config=configs/table4.py:network=ms,data=nmnist --workdir=runs/x
"""

import cifar10_dvs
import dvs_gesture
import events_folder
import nmnist
import plif
import rollout
import ta_snn

from snnjax.train.config import choose

OWN = {
    'nmnist': nmnist.get_config,
    'dvs128_objects': events_folder.get_config,
    'cifar10_dvs': cifar10_dvs.get_config,
    'dvs_gesture': dvs_gesture.get_config,
}
"""MS-ResNet configurations by data set."""

EPOCHS = {
    ('rollout', 'nmnist'): 6,
    ('rollout', 'dvs128_objects'): 16,
    ('rollout_qcfs', 'nmnist'): 6,
    ('rollout_qcfs', 'dvs128_objects'): 16,
    ('ms', 'nmnist'): 6,
    ('ms', 'dvs128_objects'): 48,
}
"""Epochs in the setting 'cpu'. MS-ResNet has 8 layers there, because 20 would allow one epoch."""


def get_config(network='rollout', data='nmnist', setting='cpu', seed=0):
    """Returns the configuration of one network.

    Args:
      network: the network: rollout, rollout_qcfs, ms, plif or ta.
      data: the data set, a key of `OWN`.
      setting: the setting, cpu or paper.
      seed: the seed of weights and batches.
    """
    own = choose('data', data, OWN)
    depth = choose('setting', setting, {'cpu': 8, 'paper': 20})
    makers = {
        'rollout': lambda: rollout.get_config(data=data),
        'rollout_qcfs': lambda: rollout.get_config(data=data, activation='qcfs'),
        'ms': lambda: own(depth=depth),
        'plif': lambda: plif.get_config(data=data),
        'ta': ta_snn.get_config,
    }
    config = choose('network', network, makers)()
    config.data.name = data
    if setting == 'cpu':
        config.epochs = choose('network and data', (network, data), EPOCHS)
        config.eval_every_epochs = max(1, config.epochs // 4)
    config.seed = seed
    return config


def get_runs(networks='rollout+rollout_qcfs+ms', data='', setting='cpu', seeds='0'):
    """Returns the arguments of ``get_config`` by the name of the run.

    Args:
      networks: the networks, separated by ``+``.
      data: the data sets, separated by ``+``; '' for all.
      setting: the setting, cpu or paper.
      seeds: the seeds, separated by ``+``.
    """
    names = data.split('+') if data else list(OWN)
    return {
        f'{network}_{name}_seed{seed}': (
            f'network={network},data={name},setting={setting},seed={seed}'
        )
        for name in names
        for network in networks.split('+')
        for seed in seeds.split('+')
        if setting != 'cpu' or (network, name) in EPOCHS
    }
