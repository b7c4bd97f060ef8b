r"""Networks of the papers that MS-ResNet is compared with, under one budget (tables 3 and 4).

python -m snnjax.tools.sweep --config=configs/compare.py:seeds=0+1 --workdir=runs/compare
python -m snnjax.tools.compare runs/compare --figure=compare.png

trains each for a hundred epochs of CIFAR-10 at the size of the largest published one, some ten
million parameters. Within reach of two CPU cores, at a hundredth of that (``docs/results`` has what
came out):

python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu,seeds=0+1 \
    --workdir=runs/compare_cpu
python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu,data=nmnist,seeds=0+1 \
    --workdir=runs/compare_nmnist

Table 3 with its converted networks, each trained or converted, then measured, in one command; as
published on ImageNet, or within reach of two CPU cores on CIFAR-10:

python -m snnjax.tools.compare --config=configs/compare.py:setting=table3 --workdir=runs/table3
python -m snnjax.tools.compare --config=configs/compare.py:setting=table3_cpu \
    --workdir=runs/table3_cpu --images=500

One of them alone:

python -m snnjax.main --config=configs/compare.py:network=sew,setting=cpu --workdir=runs/x
"""

import imagenet

from snnjax.train.config import choose, default_config

SGD = {'name': 'sgd', 'learning_rate': 0.05}
# Both papers train with the squared distance of rates, and with Adam.
RATES = {'name': 'adam', 'learning_rate': 1e-3, 'weight_decay': 0.0}

NETWORKS = {
    'paper': {
        'ms': ('ms_resnet20x7', {}),
        'tdbn': ('tdbn_resnet19', {}),
        'sew': ('sew_resnet20x7', {}),
        'plif': ('plif_cifar10', {}),
        'ta': ('ta_snn', {'channels': (64, 128, 256, 512, 1024), 'pools': (2,) * 5}),
    },
    # The same structures with as many parameters as MS-ResNet8, or nearly.
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
    # With a few ten thousand parameters each, except the VGGs, which have some hundred thousand.
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
"""Models, with their options, by the setting and what stands for them in the names of runs."""

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
"""By the setting and the name: the ANN, the method, time steps T, and options of the method.

T is that of the papers in 'table3'; few spikes take the number of layers times K.
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
"""Time steps, epochs and batches by the setting and the data."""


def get_config(network='ms', data='', seed=0, setting='paper'):
    """Arguments: ``network``, ``data`` (cifar10, nmnist), ``seed``, ``setting`` (of `NETWORKS`)."""
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
    # Without normalization a large rate does not train.
    plain = {'learning_rate': 0.02} if network == 'plain' else {}
    config.optimizer.update(RATES if rates else SGD | plain)
    config.epochs = budget['epochs']
    config.batch_size = budget['batch_size']
    config.eval_batch_size = 100
    config.seed = seed
    return config


def get_runs(networks='', seeds='0', data='', setting='paper'):
    """Arguments: ``networks`` and ``seeds``, each with a + between, ``data`` and ``setting``.

    All networks are compared where none is named.

    Returns the arguments of ``get_config`` by the name of the run.
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
    """Arguments: those of `get_runs`.

    Returns by the name of the converted network the name of the run of its ANN, and the method,
    ``num_steps`` and options of `snnjax.conversion.convert`.
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
