r"""MS-ResNet and the networks it is compared with, under one budget (tables 3 and 4).

python -m snnjax.tools.sweep --config=configs/compare.py:seeds=0+1 --workdir=runs/compare
python -m snnjax.tools.compare runs/compare --figure=compare.png

These commands train each network for a hundred epochs of CIFAR-10, at the size of the largest
published one (about ten million parameters). The setting 'cpu' is a hundredth of that, for two CPU
cores (results in ``docs/results``):

python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu,seeds=0+1 \
    --workdir=runs/compare_cpu
python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu,data=nmnist,seeds=0+1 \
    --workdir=runs/compare_nmnist

One command trains or converts, then measures, all networks of table 3: as published on ImageNet, or
for two CPU cores on CIFAR-10:

python -m snnjax.tools.compare --config=configs/compare.py:setting=table3 --workdir=runs/table3
python -m snnjax.tools.compare --config=configs/compare.py:setting=table3_cpu \
    --workdir=runs/table3_cpu --images=500

Training of one of them alone:

python -m snnjax.main --config=configs/compare.py:network=sew,setting=cpu --workdir=runs/x
"""

import imagenet

from snnjax.train.config import choose, default_config

SGD = {'name': 'sgd', 'learning_rate': 0.05}
# Both papers train with Adam and the squared error of firing rates.
RATES = {'name': 'adam', 'learning_rate': 1e-3, 'weight_decay': 0.0}

NETWORKS = {
    'paper': {
        'ms': ('ms_resnet20x7', {}),
        'tdbn': ('tdbn_resnet19', {}),
        'sew': ('sew_resnet20x7', {}),
        'plif': ('plif_cifar10', {}),
        'ta': ('ta_snn', {'channels': (64, 128, 256, 512, 1024), 'pools': (2,) * 5}),
    },
    # The same architectures with about as many parameters as MS-ResNet8.
    'cpu': {
        'ms': ('ms_resnet8', {}),
        'tdbn': ('tdbn_resnet19', {'widths': (10, 20, 40), 'hidden': (20,)}),
        'sew': ('sew_resnet8', {}),
        'plif': ('plif_cifar10', {'channels': (24,) * 6, 'hidden': (32,)}),
        'ta': ('ta_snn', {'channels': (16, 24, 32, 48, 64), 'pools': (2,) * 5, 'hidden': (128,)}),
    },
    'table3': {
        'ms': ('ms_resnet34', {'num_steps': 6}),
        'tdbn': ('tdbn_resnet34x2', {'num_steps': 6}),
        'sew': ('sew_resnet34', {'num_steps': 4}),
        'resnet34': ('relu_resnet34', {}),
        'resnet50': ('relu_resnet50', {}),
        'plain': ('sengupta_resnet34', {}),
        'efficientnet': ('efficientnet_b7', {}),
    },
    # Networks of a few ten thousand parameters; the VGGs have a few hundred thousand.
    'table3_cpu': {
        'ms': ('ms_resnet8', {'num_steps': 4}),
        'resnet': ('relu_resnet8', {}),
        'vgg': (
            'vgg16_cifar',
            {
                'blocks': (1, 1, 2),
                'widths': (32, 64, 64),
                'pooling': 'average',
                'activation': 'qcfs',
                'activation_options': {'levels': 4, 'bound': 4.0},
            },
        ),
        'plain': (
            'sengupta_vgg16',
            {
                'blocks': (1, 1, 2),
                'widths': (32, 64, 64),
                'hidden': (),
                'conv_dropout': 0.0,
                'dropout': 0.0,
            },
        ),
    },
}
"""Models and their options, by setting and by the network's short name in runs."""

CONVERSIONS = {
    'table3': {
        'sengupta_resnet34': ('plain', 'spike_norm', 2500, {}),
        'han_resnet34': ('plain', 'rmp', 4096, {}),
        'hu_resnet34': ('resnet34', 's_resnet', 350, {'percentile': 99.99}),
        'hu_resnet50': ('resnet50', 's_resnet', 350, {'percentile': 99.99}),
        'stoeckl_resnet50': ('resnet50', 'few_spikes', 10, {}),
        'stoeckl_efficientnet': ('efficientnet', 'few_spikes', 16, {}),
    },
    'table3_cpu': {
        'sengupta_vgg': ('plain', 'spike_norm', 256, {}),
        'han_vgg': ('plain', 'rmp', 256, {}),
        'rueckauer_resnet': ('resnet', 'rueckauer', 128, {}),
        'hu_resnet': ('resnet', 's_resnet', 128, {}),
        'stoeckl_resnet': ('resnet', 'few_spikes', 10, {}),
        'bu_vgg': ('vgg', 'qcfs', 16, {}),
    },
}
"""The ANN, method, time steps T and method options of conversions, by setting and name.

In 'table3', T is that of the papers. For few-spike neurons T is K, the time steps of one layer; the
network takes the number of layers times K.
"""

BUDGETS = {
    'paper': {
        'cifar10': {'num_steps': 4, 'epochs': 100, 'batch_size': 100},
        'nmnist': {'num_steps': 10, 'epochs': 100, 'batch_size': 100},
    },
    'cpu': {
        'cifar10': {'num_steps': 4, 'epochs': 1, 'batch_size': 50},
        'nmnist': {'num_steps': 8, 'epochs': 10, 'batch_size': 20},
    },
    'table3': {'imagenet': {'num_steps': 1, 'epochs': 125, 'batch_size': 256}},
    'table3_cpu': {'cifar10': {'num_steps': 1, 'epochs': 2, 'batch_size': 100}},
}
"""Time steps, epochs and batch sizes by setting and data set."""


def get_config(network='ms', data='', seed=0, setting='paper'):
    """Returns the configuration of one network.

    Args:
      network: the network, a key of `NETWORKS` in the setting.
      data: the data set, cifar10 or nmnist; '' for the first of the setting.
      seed: the seed of weights and batches.
      setting: the setting, a key of `NETWORKS`.
    """
    budgets = choose('setting', setting, BUDGETS)
    data = data or next(iter(budgets))
    budget = choose('data', data, budgets)
    name, options = choose('network', network, NETWORKS[setting])
    if data == 'imagenet':
        config = imagenet.get_config(recipe='paper_arxiv')
    else:
        config = default_config()
        config.data.crop_padding = 4 if data == 'cifar10' else 2
        config.data.flip = data == 'cifar10'
    config.model.update({'name': name, 'num_steps': budget['num_steps'], **options})
    config.data.name = data
    rates = network in ('plif', 'ta')
    config.loss = 'mse' if rates else 'cross_entropy'
    if name.startswith('efficientnet'):
        config.data.image_size = 600
    # Networks without normalization do not train at a large learning rate.
    plain = {'learning_rate': 0.02} if network == 'plain' else {}
    config.optimizer.update(RATES if rates else SGD | plain)
    config.epochs = budget['epochs']
    config.batch_size = budget['batch_size']
    config.eval_batch_size = 100
    config.seed = seed
    return config


def get_runs(networks='', seeds='0', data='', setting='paper'):
    """Returns the arguments of ``get_config`` by the name of the run.

    Args:
      networks: the networks, separated by ``+``; '' for all of the setting.
      seeds: the seeds, separated by ``+``.
      data: the data set; '' for the first of the setting.
      setting: the setting, a key of `NETWORKS`.
    """
    known = choose('setting', setting, NETWORKS)
    data = data or next(iter(BUDGETS[setting]))
    return {
        f'{network}_{data}_seed{seed}': (
            f'network={network},data={data},seed={seed},setting={setting}'
        )
        for seed in seeds.split('+')
        for network in (networks.split('+') if networks else known)
    }


def get_conversions(networks='', seeds='0', data='', setting='paper'):
    """Returns the conversions by the name of the converted network.

    Args:
      networks: the ANNs, separated by ``+``; '' for all of the setting.
      seeds: the seeds, separated by ``+``.
      data: the data set; '' for the first of the setting.
      setting: the setting, a key of `NETWORKS`.

    Returns:
      The ``run`` of each network's ANN, and the ``method``, ``num_steps`` and ``options`` of
      `snnjax.conversion.convert`.
    """
    chosen = networks.split('+') if networks else choose('setting', setting, NETWORKS)
    data = data or next(iter(BUDGETS[setting]))
    return {
        f'{name}_seed{seed}': {
            'run': f'{network}_{data}_seed{seed}',
            'method': method,
            'num_steps': num_steps,
            'options': options,
        }
        for seed in seeds.split('+')
        for name, (network, method, num_steps, options) in CONVERSIONS.get(setting, {}).items()
        if network in chosen
    }
