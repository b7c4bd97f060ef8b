r"""Table 4: networks on the event data sets that are prepared, under one budget.

python -m snnjax.tools.table4 --config=configs/table4.py --workdir=runs/table4 \
    --rows=dart.csv --csv=table4.csv --figure=table4.png

trains each network on each data set, converts the rollouts to spiking neurons, and tells split,
time steps, parameters, accuracy and energy. Data sets that are not prepared are left out. The
setting 'cpu' takes about four minutes of CPU time for a network on N-MNIST, and eight for one on
the objects (``docs/results``); 'paper' is the recipe of each.

python -m snnjax.main --config=configs/table4.py:network=ms,data=nmnist --workdir=runs/x

trains one of them alone.
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
"""Configurations of MS-ResNet by data set."""

EPOCHS = {
    ('rollout', 'nmnist'): 6,
    ('rollout', 'dvs128_objects'): 16,
    ('rollout_qcfs', 'nmnist'): 6,
    ('rollout_qcfs', 'dvs128_objects'): 16,
    ('ms', 'nmnist'): 6,
    ('ms', 'dvs128_objects'): 48,
}
"""Epochs in the setting 'cpu', in which MS-ResNet has 8 layers: 20 would see the data once."""


def get_config(network='rollout', data='nmnist', setting='cpu', seed=0):
    """Arguments: ``network`` (rollout, rollout_qcfs, ms, plif, ta), ``data``, ``setting``."""
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
    """Arguments: ``networks``, ``data`` and ``seeds``, each with a + between, and ``setting``.

    All data sets of the setting are meant if none is named.
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
